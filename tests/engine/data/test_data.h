// What the data tests share: files built byte by byte, a temporary folder, and the text of an
// error.
#pragma once

#include <gtest/gtest.h>
#include <stdlib.h>
#include <unistd.h>
#include <zlib.h>

#include <cstdint>
#include <filesystem>
#include <fstream>
#include <string>
#include <vector>

#include "base/error.h"
#include "engine/data/dataset.h"
#include "tests/temporary_folder.h"

namespace syncnorm::testing {

using Bytes = std::vector<std::uint8_t>;

/// 00 00, `type`, the number of dimensions, their sizes, then `data`.
inline Bytes idx_bytes(const std::vector<std::uint32_t>& dimensions, const Bytes& data,
                       std::uint8_t type = 0x08) {
  Bytes bytes = {0, 0, type, static_cast<std::uint8_t>(dimensions.size())};
  for (const std::uint32_t size : dimensions) {
    for (int shift = 24; shift >= 0; shift -= 8) {
      bytes.push_back(static_cast<std::uint8_t>(size >> shift));
    }
  }
  bytes.insert(bytes.end(), data.begin(), data.end());
  return bytes;
}

/// `bytes` as one gzip member.
inline Bytes gzip(const Bytes& bytes) {
  z_stream stream{};
  EXPECT_EQ(deflateInit2(&stream, 9, Z_DEFLATED, MAX_WBITS + 16, 8, Z_DEFAULT_STRATEGY), Z_OK);
  Bytes out(deflateBound(&stream, bytes.size()) + 32);
  stream.next_in = const_cast<Bytef*>(bytes.data());
  stream.avail_in = static_cast<uInt>(bytes.size());
  stream.next_out = out.data();
  stream.avail_out = static_cast<uInt>(out.size());
  EXPECT_EQ(deflate(&stream, Z_FINISH), Z_STREAM_END);
  out.resize(stream.total_out);
  deflateEnd(&stream);
  return out;
}

inline Bytes counting(std::size_t count) {
  Bytes bytes(count);
  for (std::size_t i = 0; i < count; ++i) bytes[i] = static_cast<std::uint8_t>(i * 7 + i / 256);
  return bytes;
}

/// Paths as the messages have them.
class TemporaryFolder : public test::TemporaryFolder {
 public:
  std::string path() const { return test::TemporaryFolder::path().string(); }
  std::string write(const std::string& name, const Bytes& bytes) const {
    return test::TemporaryFolder::write(
        name, {reinterpret_cast<const char*>(bytes.data()), bytes.size()});
  }
};

/// The message of the InputError that `action` throws, or what it did instead.
template <typename Action>
std::string input_error_of(Action action) {
  try {
    action();
  } catch (const InputError& error) {
    return error.what();
  } catch (const std::exception& error) {
    return std::string("another exception: ") + error.what();
  }
  return "no error";
}

/// As long as it lives this process has no right that a mode does not give it: root becomes another
/// user, for whom `folder` and what lies in it is made readable first.
class WithoutRights {
 public:
  explicit WithoutRights(const std::string& folder) {
    if (geteuid() != 0) return;
    std::filesystem::permissions(folder, std::filesystem::perms{0755});
    constexpr uid_t kNobody = 65534;
    EXPECT_EQ(seteuid(kNobody), 0);
  }
  ~WithoutRights() { EXPECT_EQ(seteuid(getuid()), 0); }
  WithoutRights(const WithoutRights&) = delete;
  WithoutRights& operator=(const WithoutRights&) = delete;
};

/// A set whose every byte differs from its neighbours', with labels i mod `classes`.
inline ImageSet counted_images(int samples, int height, int width, int channels, int classes = 10) {
  ImageSet set;
  set.height = height;
  set.width = width;
  set.channels = channels;
  set.classes = classes;
  for (int i = 0; i < samples; ++i) set.labels.push_back(i % classes);
  set.pixels = counting(set.size() * set.image_size());
  return set;
}

/// The same with a label for every pixel: 3 · y + x + the sample, mod `classes`.
inline ImageSet counted_masks(int samples, int height, int width, int channels, int classes = 10) {
  ImageSet set = counted_images(samples, height, width, channels, classes);
  set.per_pixel = true;
  set.labels.assign(set.size(), 0);
  for (int i = 0; i < samples; ++i)
    for (int y = 0; y < height; ++y)
      for (int x = 0; x < width; ++x)
        set.masks.push_back(static_cast<std::uint8_t>((3 * y + x + i) % classes));
  return set;
}

}  // namespace syncnorm::testing
