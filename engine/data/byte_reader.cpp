// Files and gzip streams; see byte_reader.h.
#include "engine/data/byte_reader.h"

#include <fmt/format.h>

#include <algorithm>
#include <cassert>
#include <cerrno>
#include <cstdio>
#include <cstring>
#include <memory>
#include <new>
#include <utility>

#include "kernels/error.h"

namespace syncnorm {
namespace {

constexpr std::uint64_t kMaxDeflateRatio = 1032;  // zlib, "Maximum Compression Factor"

struct FileCloser {
  void operator()(std::FILE* file) const { std::fclose(file); }
};

bool begins_as_gzip(std::span<const std::uint8_t> bytes) {
  return bytes.size() >= 2 && bytes[0] == 0x1f && bytes[1] == 0x8b;
}

void check_size(const std::string& file, std::uint64_t size) {
  if (size > kMaxDataBytes) {
    reject_file(file, "size", fmt::format("at most {} bytes", kMaxDataBytes),
                fmt::format("{}", size));
  }
}

}  // namespace

void reject_file(const std::string& file, const std::string& field, const std::string& expected,
                 const std::string& found) {
  throw InputError(fmt::format("{}: {}: expected {}, found {}", file, field, expected, found));
}

std::vector<std::uint8_t> read_file(const std::filesystem::path& path) {
  std::vector<std::uint8_t> bytes;
  read_file(path, bytes);
  return bytes;
}

void read_file(const std::filesystem::path& path, std::vector<std::uint8_t>& bytes) {
  std::error_code error;
  const std::string name = path.string();
  if (!std::filesystem::exists(path, error)) reject_file(name, "file", "a file", "none");
  if (!std::filesystem::is_regular_file(path, error)) {
    reject_file(name, "file", "a regular file", "something else");
  }
  const std::uint64_t size = std::filesystem::file_size(path, error);
  if (error) reject_file(name, "file", "a readable file", error.message());
  check_size(name, size);
  const std::unique_ptr<std::FILE, FileCloser> file(std::fopen(name.c_str(), "rb"));
  if (!file) reject_file(name, "file", "a readable file", std::strerror(errno));
  bytes.resize(static_cast<std::size_t>(size));
  const std::size_t got = std::fread(bytes.data(), 1, bytes.size(), file.get());
  if (got != bytes.size()) {
    reject_file(name, "file", fmt::format("{} readable bytes", bytes.size()),
                fmt::format("{}", got));
  }
}

ByteReader::ByteReader(std::span<const std::uint8_t> bytes, std::string file)
    : bytes_(bytes), file_(std::move(file)), compressed_(begins_as_gzip(bytes)) {
  check_size(file_, bytes_.size());
  if (!compressed_) return;
  stream_.next_in = const_cast<Bytef*>(bytes_.data());  // zlib only reads it
  stream_.avail_in = static_cast<uInt>(bytes_.size());
  constexpr int kGzipOnly = MAX_WBITS + 16;
  if (inflateInit2(&stream_, kGzipOnly) != Z_OK) throw std::bad_alloc();
}

ByteReader::~ByteReader() {
  if (compressed_) inflateEnd(&stream_);
}

std::size_t ByteReader::read(std::span<std::uint8_t> out) {
  assert(out.size() <= kMaxDataBytes);
  if (!compressed_) {
    const std::size_t count = std::min(out.size(), bytes_.size() - position_);
    std::copy_n(bytes_.begin() + static_cast<std::ptrdiff_t>(position_), count, out.begin());
    position_ += count;
    return count;
  }
  stream_.next_out = out.data();
  stream_.avail_out = static_cast<uInt>(out.size());
  while (stream_.avail_out > 0 && !stream_ended_) {
    const int status = inflate(&stream_, Z_NO_FLUSH);
    if (status == Z_STREAM_END) {
      stream_ended_ = true;
    } else if (status == Z_MEM_ERROR) {
      throw std::bad_alloc();
    } else if (status == Z_BUF_ERROR) {
      reject_file(file_, "gzip stream", "its end",
                  fmt::format("the file's end after {} bytes", bytes_.size()));
    } else if (status != Z_OK) {
      reject_file(file_, "gzip stream", "intact data",
                  fmt::format("\"{}\"", stream_.msg ? stream_.msg : "corrupt data"));
    }
  }
  return out.size() - stream_.avail_out;
}

std::uint64_t ByteReader::most_left() const {
  if (!compressed_) return bytes_.size() - position_;
  return bytes_.size() * kMaxDeflateRatio -
         std::min<std::uint64_t>(stream_.total_out, bytes_.size() * kMaxDeflateRatio);
}

void ByteReader::expect_end() {
  if (!compressed_) {
    if (most_left() > 0) reject_file(file_, "trailing bytes", "0", fmt::format("{}", most_left()));
    return;
  }
  std::uint8_t extra = 0;  // reading past the end also makes zlib check the sum of what was read
  if (read({&extra, 1}) > 0) reject_file(file_, "trailing bytes", "0", "at least 1");
  if (stream_.avail_in > 0) {
    reject_file(file_, "gzip stream", "the file's end after it",
                fmt::format("{} more bytes", stream_.avail_in));
  }
}

}  // namespace syncnorm
