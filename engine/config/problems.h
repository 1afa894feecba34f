// Collects all mistakes of a configuration, so that a user sees them at once.
//
// A Position is the location of a value. Problems are reported in the order of files and lines, the
// command line last.
#pragma once

#include <memory>
#include <string>
#include <vector>

namespace syncnorm::config {

/// A text that contains values: a file, a text in memory or the command line.
struct Source {
  std::string name;
  int order = 0;  // problems of a lower order are printed first
};

using SourcePointer = std::shared_ptr<const Source>;

/// 1-based line and column (in bytes). Line 0 is the source as a whole; `column` then only sorts.
struct Position {
  SourcePointer source;
  int line = 0;
  int column = 0;

  /// Returns "file:line:column", or only the name of a source without lines.
  std::string text() const;
};

class Problems {
 public:
  /// Adds a problem. `text` is "problem; hint". An empty key is omitted from the line.
  void add(const Position& position, const std::string& key, const std::string& text);
  void add_all(const Problems& others, const std::string& suffix = "");

  bool empty() const { return problems_.empty(); }
  std::string text() const;  // one line per problem, sorted, without duplicates

  /// Throws InputError with all problems, if there are any.
  void throw_if_any() const;

 private:
  struct Problem {
    Position position;
    std::string key;
    std::string text;
  };
  std::vector<Problem> problems_;
};

}  // namespace syncnorm::config
