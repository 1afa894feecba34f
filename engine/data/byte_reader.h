// Reads data files: whole files into memory, and plain or gzip bytes as a bounded stream. A gzip
// file may consist of several members, as for zcat.
//
// A parser reads only what a header announces, and nothing beyond that is inflated or allocated, so
// a file with a wrong size costs no memory. Every error names file, field, expected and found
// value.
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

/// The maximum size in bytes of a data file, or of one tensor in it.
inline constexpr std::uint64_t kMaxDataBytes = std::uint64_t{1} << 30;

/// Throws InputError "file: field: expected ..., found ...".
[[noreturn]] void reject_file(const std::string& file, const std::string& field,
                              const std::string& expected, const std::string& found);

/// A file that cannot be read: no permission, a failing disk, no descriptor or memory left, a file
/// that has disappeared. Nothing is known about its content. what() names the file.
struct ReadError : InputError {
  /// `reason` is what went wrong, such as errno's text.
  ReadError(const std::string& file, std::string reason);
  std::string reason;  // without the file
};

/// Returns the whole file. Throws ReadError if it cannot be read, InputError if it exceeds
/// kMaxDataBytes.
std::vector<std::uint8_t> read_file(const std::filesystem::path& path);

/// Reads the file into `bytes`, whose memory is reused.
void read_file(const std::filesystem::path& path, std::vector<std::uint8_t>& bytes);

/// A forward stream over bytes in memory, which are inflated if they begin like gzip.
class ByteReader {
 public:
  /// `bytes` must outlive the reader; errors refer to the file as `file`.
  ByteReader(std::span<const std::uint8_t> bytes, std::string file);
  ~ByteReader();
  ByteReader(const ByteReader&) = delete;
  ByteReader& operator=(const ByteReader&) = delete;

  /// Fills `out` and returns the number of bytes, which is smaller than requested only at the end.
  /// Throws InputError for a gzip stream that is corrupt, truncated or followed by something else.
  std::size_t read(std::span<std::uint8_t> out);

  /// Returns an upper bound for the remaining bytes: exact for plain bytes, the maximum compression
  /// ratio of deflate for gzip.
  std::uint64_t most_left() const;
  bool compressed() const { return compressed_; }

  /// Throws InputError unless everything was read and, for gzip, the checksum matches.
  void expect_end();

 private:
  void begin_next_member();

  std::span<const std::uint8_t> bytes_;
  std::string file_;
  std::size_t position_ = 0;  // plain bytes read
  bool compressed_;
  bool stream_ended_ = false;   // of the current member
  std::uint64_t inflated_ = 0;  // bytes, of all members
  z_stream stream_{};
};

}  // namespace syncnorm
