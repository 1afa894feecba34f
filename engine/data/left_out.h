// What the listing of a folder left out, by kind, so that nobody misses a part of their data.
#pragma once

#include <cstddef>
#include <map>
#include <string>

namespace syncnorm {

class LeftOut {
 public:
  /// `one` and `many` name the kind: "folder", "folders".
  void add(const std::string& one, const std::string& many, const std::string& path);

  /// A file of a name that is not read: its kind is its extension.
  void add_file(const std::string& path);

  void add(const LeftOut& other);

  /// "left out: 3 .webp files (no JPEG or PNG), 2 folders and 1 hidden file; for example PATH".
  /// Images of other formats come first, then what is more. Empty: nothing was left out.
  std::string text() const;

 private:
  struct Kind {
    std::string many;
    std::size_t count = 0;
    bool image = false;  // of a format that is not read
    std::string example;
  };
  void count(const std::string& one, const std::string& many, bool image, const std::string& path);

  std::map<std::string, Kind> kinds_;  // by the name of one
};

}  // namespace syncnorm
