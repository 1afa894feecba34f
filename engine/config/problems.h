// Every mistake of a configuration, collected, so that a user sees them all at once.
//
// A Position says where a value was written; problems are reported in the order of the files and of
// their lines, the command line last.
#pragma once

#include <memory>
#include <string>
#include <vector>

namespace syncnorm::config {

/// A text that values come from: a file, a text in memory or the command line.
struct Source {
  std::string name;
  int order = 0;  // problems of a lower order are printed first
};

using SourcePointer = std::shared_ptr<const Source>;

/// 1-based line and column (in bytes). Line 0: the source as a whole; then `column` only orders.
struct Position {
  SourcePointer source;
  int line = 0;
  int column = 0;

  /// "file:line:column", or only the name of the source where there are no lines.
  std::string text() const;
};

class Problems {
 public:
  /// `text` is "problem; hint". An empty key is left out of the line.
  void add(const Position& position, const std::string& key, const std::string& text);
  void add_all(const Problems& others, const std::string& suffix = "");

  bool empty() const { return problems_.empty(); }
  std::string text() const;  // one line per problem, sorted, without repetitions

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
