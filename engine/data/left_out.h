// Counts, by kind, the entries of a folder that its listing left out, so that users notice missing
// data.
#pragma once

#include <cstddef>
#include <map>
#include <string>

namespace syncnorm {

/// Returns the extension of a file's name in lower case, with its dot.
std::string lower_extension(const std::string& name);

class LeftOut {
 public:
  /// Adds an entry. `one` and `many` are the name of its kind: "folder", "folders".
  void add(const std::string& one, const std::string& many, const std::string& path);

  /// Adds a file whose name is not read; its kind is its extension.
  void add_file(const std::string& path);

  void add(const LeftOut& other);

  /// Returns, for example, "left out: 3 .webp files (neither JPEG nor PNG), 2 folders and 1 hidden
  /// file; for example PATH". Images of other formats come first, then kinds by count. "" if
  /// nothing was left out.
  std::string text() const;

 private:
  struct Kind {
    std::string many;
    std::size_t count = 0;
    bool image = false;  // an image format that is not read
    std::string example;
  };
  void count(const std::string& one, const std::string& many, bool image, const std::string& path);

  std::map<std::string, Kind> kinds_;  // key: the singular name
};

}  // namespace syncnorm
