// Reads files of any origin. Only regular files are accepted: reading a pipe might never end.
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

/// A regular file opened for reading. Opening never blocks. Errors are reported as values.
class RegularFile {
 public:
  explicit RegularFile(const std::filesystem::path& path);
  ~RegularFile();
  RegularFile(const RegularFile&) = delete;
  RegularFile& operator=(const RegularFile&) = delete;

  FileTrouble trouble() const { return trouble_; }

  /// Describes the error, without the path: "no such file", "is a folder", "is not a regular file"
  /// or "cannot be read (Permission denied)"; "" when there is none.
  std::string problem() const;

  /// Describes it to follow "cannot be read: ": "Permission denied", "it is a folder".
  std::string reason() const;

  /// Size in bytes when the file was opened.
  std::uint64_t size() const { return size_; }

  /// Fills `to`, continuing after the last call. Returns the number of bytes read, fewer than asked
  /// for at the end of the file or on an error (trouble() tells them apart).
  std::size_t read(std::span<std::byte> to);

  /// Reads the rest of the file as text, at most `most` bytes.
  std::string read_text(std::uint64_t most = UINT64_MAX);

 private:
  int descriptor_ = -1;
  int error_ = 0;
  FileTrouble trouble_ = FileTrouble::none;
  std::uint64_t size_ = 0;
};

/// Returns the whole text of a file. Throws InputError "PATH: what is wrong; HINT".
std::string read_text_file(const std::filesystem::path& path, std::string_view hint);

/// Like read_text_file(), but returns nothing when there is no such file.
std::optional<std::string> read_text_file_if_there(const std::filesystem::path& path,
                                                   std::string_view hint);

/// Calls `use(line)` for each line of `text`, without its line feed, which the last line may lack.
template <class Use>
void for_each_line(std::string_view text, Use use) {
  while (!text.empty()) {
    const std::size_t end = text.find('\n');
    use(text.substr(0, end));
    text.remove_prefix(end == std::string_view::npos ? text.size() : end + 1);
  }
}

}  // namespace syncnorm
