// Reading data files: whole files into memory, and plain or gzip bytes as one bounded stream.
// A gzip file may have several members one after another, as zcat reads them.
//
// A parser asks a ByteReader for what a header promises; nothing is inflated or allocated beyond
// that, so a file that lies about its size costs no memory. Every complaint names file, field,
// expected and found.
#pragma once

#include <zlib.h>

#include <cstddef>
#include <cstdint>
#include <filesystem>
#include <span>
#include <string>
#include <vector>

#include "base/error.h"

namespace syncnorm {

/// The most bytes that one data file, or one tensor in it, may hold.
inline constexpr std::uint64_t kMaxDataBytes = std::uint64_t{1} << 30;

/// Throws InputError "file: field: expected ..., found ...".
[[noreturn]] void reject_file(const std::string& file, const std::string& field,
                              const std::string& expected, const std::string& found);

/// What lies in a file could not be had: no permission, a disk that fails, no descriptor or memory
/// left, a file that is gone. It says nothing about the content. what() names the file.
struct ReadError : InputError {
  /// `reason`: what went wrong, such as errno's text.
  ReadError(const std::string& file, std::string reason);
  std::string reason;  // without the file
};

/// The whole file. Throws ReadError when it cannot be read, InputError when it exceeds
/// kMaxDataBytes.
std::vector<std::uint8_t> read_file(const std::filesystem::path& path);

/// The same into `bytes`, whose memory is reused.
void read_file(const std::filesystem::path& path, std::vector<std::uint8_t>& bytes);

/// A forward stream over bytes in memory, inflated on the way if they begin as gzip does.
class ByteReader {
 public:
  /// `bytes` must outlive the reader; `file` names them in errors.
  ByteReader(std::span<const std::uint8_t> bytes, std::string file);
  ~ByteReader();
  ByteReader(const ByteReader&) = delete;
  ByteReader& operator=(const ByteReader&) = delete;

  /// Fills `out` and returns how many bytes there were; fewer than asked for only at the end.
  /// Throws InputError when a gzip stream is corrupt, cut off or followed by something else.
  std::size_t read(std::span<std::uint8_t> out);

  /// No more than this can still be read: exact for plain bytes, deflate's best ratio for gzip.
  std::uint64_t most_left() const;
  bool compressed() const { return compressed_; }

  /// Throws InputError unless everything was read and, for gzip, the checksum is right.
  void expect_end();

 private:
  void begin_next_member();

  std::span<const std::uint8_t> bytes_;
  std::string file_;
  std::size_t position_ = 0;  // plain bytes read
  bool compressed_;
  bool stream_ended_ = false;   // of the last member
  std::uint64_t inflated_ = 0;  // bytes, of all members
  z_stream stream_{};
};

}  // namespace syncnorm
