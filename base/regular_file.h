// Reading files that anybody may have put there. A pipe in the place of a file would never end.
#pragma once

#include <cstddef>
#include <cstdint>
#include <filesystem>
#include <optional>
#include <span>
#include <string>
#include <string_view>

namespace syncnorm {

enum class FileTrouble { none, missing, folder, not_regular, unreadable };

/// A regular file, opened for reading; opening never waits. Whatever is wrong with it is a value.
class RegularFile {
 public:
  explicit RegularFile(const std::filesystem::path& path);
  ~RegularFile();
  RegularFile(const RegularFile&) = delete;
  RegularFile& operator=(const RegularFile&) = delete;

  FileTrouble trouble() const { return trouble_; }

  /// What is wrong, without the path: "no such file", "is a folder", "is not a regular file" or
  /// "cannot be read (Permission denied)"; "" while all is well.
  std::string problem() const;

  /// The same after "cannot be read: ": "Permission denied", "it is a folder".
  std::string reason() const;

  /// Bytes, when it was opened.
  std::uint64_t size() const { return size_; }

  /// Fills `to` from where the last call stopped; returns the bytes that there were, fewer than
  /// asked for at the file's end or when the disk fails (trouble() says which).
  std::size_t read(std::span<std::byte> to);

  /// All that is left of the first `most` bytes, as text.
  std::string read_text(std::uint64_t most = UINT64_MAX);

 private:
  int descriptor_ = -1;
  int error_ = 0;
  FileTrouble trouble_ = FileTrouble::none;
  std::uint64_t size_ = 0;
};

/// The whole text of a file. Throws InputError "PATH: what is wrong; HINT".
std::string read_text_file(const std::filesystem::path& path, std::string_view hint);

/// The same; nothing when there is no such file.
std::optional<std::string> read_text_file_if_there(const std::filesystem::path& path,
                                                   std::string_view hint);

/// Calls `use(line)` for each line of a text, without its end; the last one may lack it.
template <class Use>
void for_each_line(std::string_view text, Use use) {
  while (!text.empty()) {
    const std::size_t end = text.find('\n');
    use(text.substr(0, end));
    text.remove_prefix(end == std::string_view::npos ? text.size() : end + 1);
  }
}

}  // namespace syncnorm
