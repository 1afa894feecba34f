// IDX files, good and bad; every bad one with its exact message.
#include "engine/data/idx.h"

#include <gtest/gtest.h>
#include <sys/stat.h>

#include "engine/data/byte_reader.h"
#include "tests/engine/data/test_data.h"

namespace syncnorm {
namespace {

using testing::Bytes;
using testing::counting;
using testing::gzip;
using testing::idx_bytes;
using testing::input_error_of;

Bytes without_last(const Bytes& bytes, std::size_t count) {
  return {bytes.begin(), bytes.end() - static_cast<std::ptrdiff_t>(count)};
}

Bytes with_more(Bytes bytes, const Bytes& more) {
  bytes.insert(bytes.end(), more.begin(), more.end());
  return bytes;
}

Bytes with_flipped(Bytes bytes, std::size_t position) {
  bytes[position] ^= 0xff;
  return bytes;
}

TEST(Idx, ReadsPlainAndGzip) {
  const Bytes values = counting(3 * 4 * 5);
  const Bytes plain = idx_bytes({3, 4, 5}, values);
  for (const Bytes& bytes : {plain, gzip(plain)}) {
    const IdxTensor tensor = parse_idx(bytes, "images", 3);
    EXPECT_EQ(tensor.dimensions, (std::vector<std::uint32_t>{3, 4, 5}));
    EXPECT_EQ(tensor.values, values);
  }
}

struct BadIdx {
  const char* what;
  Bytes bytes;
  std::string message;
};

TEST(Idx, RejectsEveryMalformedFileByName) {
  const Bytes good = idx_bytes({2, 3, 2}, counting(12));
  const Bytes packed = gzip(good);
  const Bytes claim = gzip(idx_bytes({1000, 1000, 1000}, {}));
  const auto ends_after = [](std::size_t bytes) {
    return "f: gzip stream: expected its end, found the file's end after " + std::to_string(bytes) +
           " bytes";
  };
  const std::size_t crc = packed.size() - 8;
  const std::size_t length = packed.size() - 4;
  const BadIdx table[] = {
      {"empty", {}, "f: header: expected 16 bytes, found 0"},
      {"cut in the magic", {0, 0, 8}, "f: header: expected 16 bytes, found 3"},
      {"cut in the sizes", without_last(good, 14), "f: header: expected 16 bytes, found 14"},
      {"another format",
       {0x89, 'P', 'N', 'G', 13, 10},
       "f: magic: expected bytes 00 00, found 89 50"},
      {"floats", idx_bytes({2, 3, 2}, counting(48), 0x0d),
       "f: type code: expected 0x08 (unsigned byte), found 0x0d"},
      {"labels for images", idx_bytes({12}, counting(12)),
       "f: number of dimensions: expected 3, found 1"},
      {"no dimension", {0, 0, 8, 0}, "f: number of dimensions: expected 3, found 0"},
      {"255 dimensions", {0, 0, 8, 255}, "f: number of dimensions: expected 3, found 255"},
      {"no images", idx_bytes({0, 3, 2}, {}),
       "f: size of dimension 0: expected at least 1, found 0"},
      {"no width", idx_bytes({0xffffffff, 0xffffffff, 0}, {}),
       "f: size of dimension 2: expected at least 1, found 0"},
      {"product over the cap", idx_bytes({60000, 1000, 1000}, {}),
       "f: product of dimensions: expected at most 1073741824, found 60000×1000×1000"},
      {"product wraps to 2^64 + 0", idx_bytes({0x80000000, 0x80000000, 4}, {}),
       "f: product of dimensions: expected at most 1073741824, found 2147483648×2147483648×4"},
      {"largest sizes", idx_bytes({0xffffffff, 0xffffffff, 0xffffffff}, {}),
       "f: product of dimensions: expected at most 1073741824, found "
       "4294967295×4294967295×4294967295"},
      {"truncated", without_last(good, 1), "f: data: expected 12 bytes (2×3×2), found 11"},
      {"header only", idx_bytes({60000, 28, 28}, {}),
       "f: data: expected 47040000 bytes (60000×28×28), found 0"},
      {"trailing", with_more(good, {1, 2, 3}), "f: trailing bytes: expected 0, found 3"},
      {"gzip magic alone", {0x1f, 0x8b}, ends_after(2)},
      {"gzip, bad method",
       {0x1f, 0x8b, 7, 0, 0, 0, 0, 0, 0, 3},
       "f: gzip stream: expected intact data, found \"unknown compression method\""},
      {"gzip, cut in the data", without_last(packed, 15), ends_after(packed.size() - 15)},
      {"gzip, bad checksum", with_flipped(packed, crc),
       "f: gzip stream: expected intact data, found \"incorrect data check\""},
      {"gzip, bad length", with_flipped(packed, length),
       "f: gzip stream: expected intact data, found \"incorrect length check\""},
      {"gzip, no checksum", without_last(packed, 8), ends_after(packed.size() - 8)},
      {"gzip, trailing", with_more(packed, {9, 9}),
       "f: gzip stream: expected the file's end or another member after it, found 2 bytes of "
       "something else"},
      {"gzip, something behind zeros", with_more(packed, {0, 0, 9}),
       "f: gzip stream: expected the file's end or another member after it, found 3 bytes of "
       "something else"},
      {"gzip, too much in a second member", with_more(packed, gzip({1})),
       "f: trailing bytes: expected 0, found at least 1"},
      {"gzip, second member cut off", with_more(packed, without_last(packed, 1)),
       "f: trailing bytes: expected 0, found at least 1"},
      {"gzip, empty second member cut off", with_more(packed, without_last(gzip({}), 1)),
       ends_after(packed.size() + gzip({}).size() - 1)},
      {"gzip, cut off between members", gzip(without_last(good, 5)),
       "f: data: expected 12 bytes (2×3×2), found 7"},
      {"gzip, empty inside", gzip({}), "f: header: expected 16 bytes, found 0"},
      {"gzip, truncated inside", gzip(without_last(good, 2)),
       "f: data: expected 12 bytes (2×3×2), found 10"},
      {"gzip, trailing inside", gzip(with_more(good, {1})),
       "f: trailing bytes: expected 0, found at least 1"},
      {"gzip, a bomb's claim", claim,
       "f: data: expected 1000000000 bytes (1000×1000×1000), found at most " +
           std::to_string(claim.size() * 1032 - 16)},
      {"gzip, a bomb", gzip(idx_bytes({1, 1, 1}, Bytes(50'000'000, 0))),
       "f: trailing bytes: expected 0, found at least 1"},
  };
  for (const BadIdx& bad : table) {
    EXPECT_EQ(input_error_of([&bad] { parse_idx(bad.bytes, "f", 3); }), bad.message) << bad.what;
  }
}

TEST(Idx, ReadsAllMembersOfAGzip) {
  const Bytes plain = idx_bytes({4, 5, 5}, counting(100));
  for (std::size_t first = 0; first <= plain.size(); ++first)
    for (const std::size_t second : {first, first + (plain.size() - first) / 2}) {
      Bytes packed;
      const auto begin = plain.begin();
      const auto at = [&](std::size_t i) { return begin + static_cast<std::ptrdiff_t>(i); };
      for (const Bytes& part :
           {Bytes(begin, at(first)), Bytes(at(first), at(second)), Bytes(at(second), plain.end())})
        packed = with_more(packed, gzip(part));
      EXPECT_EQ(parse_idx(packed, "f", 3).values, counting(100)) << first << " " << second;
      EXPECT_EQ(parse_idx(with_more(packed, Bytes(700, 0)), "f", 3).values, counting(100));
    }
}

TEST(Idx, EveryFlippedOrMissingByteOfAGzipIsSurvived) {
  const Bytes plain = idx_bytes({4, 5, 5}, counting(100));
  const Bytes packed = gzip(plain);
  for (std::size_t i = 0; i < packed.size(); ++i) {
    EXPECT_NE(input_error_of([&] { parse_idx({packed.data(), i}, "f", 3); }), "no error");
    // Some header bytes (time, system) may differ; then the content must be right.
    const Bytes flipped = with_flipped(packed, i);
    if (input_error_of([&] { parse_idx(flipped, "f", 3); }) == "no error") {
      EXPECT_EQ(parse_idx(flipped, "f", 3).values, counting(100));
    }
  }
}

TEST(Idx, SplitRejectsWhatDoesNotFitTogether) {
  const Bytes images = idx_bytes({3, 2, 2}, counting(12));
  const auto error = [&images](const Bytes& labels) {
    return input_error_of([&] { parse_idx_split(images, "images", labels, "labels", 10); });
  };
  EXPECT_EQ(error(idx_bytes({3}, {0, 9, 5})), "no error");
  EXPECT_EQ(error(idx_bytes({2}, {0, 9})),
            "labels: number of labels: expected 3 (the images of images), found 2");
  EXPECT_EQ(error(idx_bytes({3}, {0, 10, 5})),
            "labels: label of sample 1: expected 0 to 9, found 10");
  EXPECT_EQ(error(images), "labels: number of dimensions: expected 1, found 3");
}

TEST(ByteReader, FileErrors) {
  const testing::TemporaryFolder folder;
  EXPECT_EQ(input_error_of([&] { read_file(folder.path()); }),
            folder.path() + ": cannot be read: it is a folder");
  EXPECT_EQ(input_error_of([&] { read_file(folder.path() + "/none"); }),
            folder.path() + "/none: cannot be read: No such file or directory");
  EXPECT_EQ(input_error_of([&] { read_file(folder.path() + "/a\nb\x1b[2J"); }),
            folder.path() + "/a\\nb\\x1b[2J: cannot be read: No such file or directory");
  const std::string pipe = folder.path() + "/pipe";
  ASSERT_EQ(mkfifo(pipe.c_str(), 0600), 0);
  EXPECT_EQ(input_error_of([&] { read_file(pipe); }),
            pipe + ": cannot be read: it is not a regular file");
  // A sparse file: large, yet of no weight on disk.
  const std::string large = folder.write("large", {});
  std::filesystem::resize_file(large, kMaxDataBytes + 1);
  EXPECT_EQ(input_error_of([&] { read_file(large); }),
            large + ": size: expected at most 1073741824 bytes, found 1073741825");
}

}  // namespace
}  // namespace syncnorm
