// Lists the folders of a data set and collects everything that is wrong with them, so that all
// mistakes are reported together.
#pragma once

#include <filesystem>
#include <string>
#include <utility>
#include <vector>

#include "engine/data/left_out.h"
#include "engine/data/stored_images.h"

namespace syncnorm {

inline constexpr const char* kImageNames = ".jpg, .jpeg, .jfif or .png";

/// Returns true for a name that ends as in kImageNames, in any case.
bool is_image_name(const std::string& name);

/// Reads an encoded image into the buffer. Throws CorruptImageError for more than kMaxDataBytes,
/// ReadError if it cannot be read.
std::span<const std::uint8_t> read_image_file(const std::filesystem::path& path,
                                              ReadBuffer& buffer);

/// Mistakes found one after another, and told together.
class Mistakes {
 public:
  void add(std::string text) { texts_.push_back(std::move(text)); }
  std::size_t count() const { return texts_.size(); }
  /// Throws InputError with the first ten and the number of others, if there are any.
  void expect_none() const;

 private:
  std::vector<std::string> texts_;
};

/// An entry of a folder, after following links.
struct FolderEntry {
  enum class Kind { folder, file, special, unknown };
  std::string name;
  std::filesystem::path path;
  Kind kind = Kind::unknown;
  std::uint64_t size = 0;  // bytes, for a file
  std::string reason;      // why the kind is unknown
};

struct SplitFolders {
  std::vector<FolderEntry> entries;  // of the data set's folder
  std::string test;                  // "test" or "val"
};

class FolderLister {
 public:
  /// Returns the entries of a folder, sorted by name (bytes), except hidden ones, which are left
  /// out.
  std::vector<FolderEntry> entries(const std::filesystem::path& folder);
  void cannot_look(const FolderEntry& entry);

  /// Finds train and test (or val) in `folder`. Throws InputError if one is missing, with `layout`,
  /// the files that were expected, and for a pack.
  SplitFolders find_splits(const std::filesystem::path& folder, const std::string& layout);
  /// Leaves out what lies beside the splits, except files with a name in `known`.
  void leave_out_beside(const SplitFolders& splits, const std::vector<std::string>& known = {});

  Mistakes mistakes;
  LeftOut left_out;
};

}  // namespace syncnorm
