// Reads files and gzip streams; see byte_reader.h.
#include "engine/data/byte_reader.h"

#include <fmt/format.h>

#include <algorithm>
#include <cassert>
#include <new>
#include <utility>

#include "base/regular_file.h"

namespace syncnorm {
namespace {

constexpr std::uint64_t kMaxDeflateRatio = 1032;  // zlib, "Maximum Compression Factor"

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

ReadError::ReadError(const std::string& file, std::string why)
    : InputError(fmt::format("{}: cannot be read: {}", printable_name(file), why)),
      reason(std::move(why)) {}

void reject_file(const std::string& file, const std::string& field, const std::string& expected,
                 const std::string& found) {
  throw InputError(fmt::format("{}: {}: expected {}, found {}", printable_name(file), field,
                               expected, printable_name(found)));
}

std::vector<std::uint8_t> read_file(const std::filesystem::path& path) {
  std::vector<std::uint8_t> bytes;
  read_file(path, bytes);
  return bytes;
}

void read_file(const std::filesystem::path& path, std::vector<std::uint8_t>& bytes) {
  const std::string name = path.string();
  RegularFile file(path);
  const auto stop_at_trouble = [&] {
    if (file.trouble() == FileTrouble::none) return;
    throw ReadError(name, file.reason());
  };
  stop_at_trouble();
  check_size(name, file.size());
  bytes.resize(static_cast<std::size_t>(file.size()));
  const std::size_t got = file.read(std::as_writable_bytes(std::span(bytes)));
  stop_at_trouble();
  if (got < bytes.size())
    throw ReadError(name, fmt::format("it ends after {} of {} bytes", got, bytes.size()));
}

ByteReader::ByteReader(std::span<const std::uint8_t> bytes, std::string file)
    : bytes_(bytes), file_(std::move(file)), compressed_(begins_as_gzip(bytes)) {
  check_size(file_, bytes_.size());
  if (!compressed_) return;
  stream_.next_in = const_cast<Bytef*>(bytes_.data());  // zlib does not write to it
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
      begin_next_member();
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
  const std::size_t count = out.size() - stream_.avail_out;
  inflated_ += count;
  return count;
}

/// Continues after the end of a member: with another one, or with the zeros that pad a tape.
void ByteReader::begin_next_member() {
  const std::span<const std::uint8_t> rest = bytes_.last(stream_.avail_in);
  if (begins_as_gzip(rest)) {
    inflateReset(&stream_);
    return;
  }
  stream_ended_ = true;
  if (std::any_of(rest.begin(), rest.end(), [](std::uint8_t byte) { return byte != 0; }))
    reject_file(file_, "gzip stream", "the file's end or another member after it",
                fmt::format("{} bytes of something else", rest.size()));
}

std::uint64_t ByteReader::most_left() const {
  if (!compressed_) return bytes_.size() - position_;
  const std::uint64_t most = bytes_.size() * kMaxDeflateRatio;
  return most - std::min(inflated_, most);
}

void ByteReader::expect_end() {
  if (!compressed_) {
    if (most_left() > 0) reject_file(file_, "trailing bytes", "0", fmt::format("{}", most_left()));
    return;
  }
  std::uint8_t extra = 0;  // reading past the end also makes zlib verify the checksum
  if (read({&extra, 1}) > 0) reject_file(file_, "trailing bytes", "0", "at least 1");
}

}  // namespace syncnorm
