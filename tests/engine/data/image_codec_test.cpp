// Decoding: right pixels, clear reasons, and bounds on what a small file can cost.
#include "engine/data/image_codec.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>
#include <sys/resource.h>
#include <zlib.h>

#include <algorithm>
#include <string>
#include <vector>

#include "tests/engine/data/test_data.h"
#include "tests/engine/data/test_images.h"

namespace syncnorm {
namespace {

using testing::Bytes;
using ::testing::HasSubstr;
using testing::jpeg_of;
using testing::pattern;
using testing::png_of;

/// Without the gaps between rows.
Bytes pixels_of(const RgbImage& image) {
  Bytes pixels;
  for (int y = 0; y < image.height(); ++y)
    pixels.insert(pixels.end(), image.row(y), image.row(y) + image.row_bytes());
  return pixels;
}

RgbImage decoded(const Bytes& bytes) {
  ImageDecoder decoder;
  RgbImage image;
  decoder.decode(bytes, image);
  return image;
}

std::string corruption_of(const Bytes& bytes) {
  try {
    decoded(bytes);
  } catch (const CorruptImageError& error) {
    return error.what();
  }
  return "none";
}

TEST(ImageDecoder, ReadsPngExactly) {
  const RgbImage image = decoded(png_of(pattern(5, 7), 5, 7));
  EXPECT_EQ(image.height(), 5);
  EXPECT_EQ(image.width(), 7);
  EXPECT_EQ(pixels_of(image), pattern(5, 7));
}

TEST(ImageDecoder, RowsKeepOffTheBordersThatMakeDecodingSlow) {
  RgbImage image;
  for (const int width : {1, 10, 32, 500}) {
    image.reshape(4, width);
    for (int y = 0; y < 4; ++y)
      EXPECT_EQ(reinterpret_cast<std::uintptr_t>(image.row(y)) % 32, 8u) << width;
    EXPECT_GE(image.row(1), image.row(0) + image.row_bytes());
  }
}

TEST(ImageDecoder, GreyBecomesRgbAndAlphaIsDropped) {
  const Bytes grey = pattern(3, 4, 1), with_alpha = pattern(3, 4, 4);
  const Bytes from_grey = pixels_of(decoded(png_of(grey, 3, 4, PNG_FORMAT_GRAY)));
  const Bytes from_alpha = pixels_of(decoded(png_of(with_alpha, 3, 4, PNG_FORMAT_RGBA)));
  const Bytes from_jpeg = pixels_of(decoded(jpeg_of(Bytes(64, 90), 8, 8, JCS_GRAYSCALE, 1)));
  ASSERT_EQ(from_grey.size(), 36u);
  for (std::size_t i = 0; i < 12; ++i)
    for (std::size_t c = 0; c < 3; ++c) {
      EXPECT_EQ(from_grey[3 * i + c], grey[i]);
      EXPECT_EQ(from_alpha[3 * i + c], with_alpha[4 * i + c]);
    }
  EXPECT_EQ(from_jpeg, Bytes(3 * 64, 90));
}

TEST(ImageDecoder, SaysWhatIsWrong) {
  Bytes jpeg = jpeg_of(pattern(32, 32), 32, 32), png = png_of(pattern(32, 32), 32, 32);
  EXPECT_EQ(corruption_of({}), "is empty");
  const auto of_text = [](std::string_view text) {
    return corruption_of({text.begin(), text.end()});
  };
  EXPECT_EQ(of_text("GIF"), "is neither JPEG nor PNG");
  EXPECT_EQ(of_text("GIF89a"), "is neither JPEG nor PNG but GIF");
  EXPECT_EQ(of_text("RIFF1234WEBPVP8 "), "is neither JPEG nor PNG but WebP");
  EXPECT_EQ(of_text("<!DOCTYPE html>"), "is neither JPEG nor PNG but an HTML page");
  EXPECT_EQ(of_text("version https://git-lfs.github.com/spec/v1\n"),
            "is neither JPEG nor PNG but a pointer of Git LFS: fetch the file itself");
  EXPECT_EQ(corruption_of(jpeg_of(Bytes(4 * 64, 9), 8, 8, JCS_CMYK, 4)),
            "has CMYK colours; convert it to RGB");
  EXPECT_THAT(corruption_of({jpeg.begin(), jpeg.end() - 40}), HasSubstr("damaged JPEG: "));
  EXPECT_THAT(corruption_of({jpeg.begin(), jpeg.begin() + 30}), HasSubstr("damaged JPEG: "));
  EXPECT_THAT(corruption_of({png.begin(), png.end() - 40}),
              HasSubstr("damaged PNG: the file ends early"));
  Bytes flipped = png;
  flipped[flipped.size() / 2] ^= 0xff;
  EXPECT_THAT(corruption_of(flipped), HasSubstr("damaged PNG: "));
  Bytes huge = png;  // a header that claims 2^31 − 1 pixels a row
  const Bytes width = {0x7f, 0xff, 0xff, 0xff};
  std::copy(width.begin(), width.end(), huge.begin() + 16);
  EXPECT_THAT(corruption_of(huge), HasSubstr("damaged PNG: "));
  EXPECT_EQ(corruption_of(jpeg), "none");
}

// ---- What a small file can cost.

void put_big_endian(Bytes& bytes, std::uint32_t value, int size) {
  for (int shift = 8 * (size - 1); shift >= 0; shift -= 8)
    bytes.push_back(static_cast<std::uint8_t>(value >> shift));
}

Bytes joined(const std::vector<Bytes>& parts) {
  Bytes all;
  for (const Bytes& part : parts) all.insert(all.end(), part.begin(), part.end());
  return all;
}

Bytes jpeg_segment(std::uint8_t marker, const Bytes& content) {
  Bytes bytes = {0xff, marker};
  put_big_endian(bytes, static_cast<std::uint32_t>(content.size() + 2), 2);
  return joined({bytes, content});
}

/// A progressive JPEG of side × side grey pixels with so many scans: the first is of the averages,
/// the others say in a few bytes that all blocks end.
Bytes jpeg_with_scans(int scans, int side = 16) {
  const auto table = [](std::uint8_t kind, std::uint8_t symbol) {  // of one symbol, one bit long
    Bytes content = {kind, 1};
    content.resize(17, 0);
    content.push_back(symbol);
    return jpeg_segment(0xc4, content);
  };
  const auto scan = [](std::uint8_t first, const Bytes& body) {
    return joined({jpeg_segment(0xda, {1, 1, 0, first, first, 0}), body});
  };
  const auto blocks = static_cast<std::size_t>(side / 8) * static_cast<std::size_t>(side / 8);
  std::vector<bool> bits;  // runs of 32767 ended blocks: the symbol, and 14 bits more
  for (std::size_t i = 0; i < blocks; i += 32767) {
    bits.push_back(false);
    bits.insert(bits.end(), 14, true);
  }
  bits.resize((bits.size() + 7) / 8 * 8, true);
  Bytes ended;
  for (std::size_t i = 0; i < bits.size(); i += 8) {
    int byte = 0;
    for (std::size_t j = 0; j < 8; ++j) byte = 2 * byte + (bits[i + j] ? 1 : 0);
    ended.push_back(static_cast<std::uint8_t>(byte));
    if (byte == 0xff) ended.push_back(0);
  }
  Bytes quantization = {0};
  quantization.resize(65, 1);
  Bytes frame = {8};
  put_big_endian(frame, static_cast<std::uint32_t>(side), 2);
  put_big_endian(frame, static_cast<std::uint32_t>(side), 2);
  frame.insert(frame.end(), {1, 1, 0x11, 0});
  std::vector<Bytes> parts = {{0xff, 0xd8},
                              jpeg_segment(0xdb, quantization),
                              jpeg_segment(0xc2, frame),
                              table(0x00, 0),
                              table(0x10, 0xe0),
                              scan(0, Bytes((blocks + 7) / 8, 0))};
  for (int i = 1; i < scans; ++i) parts.push_back(scan(1, ended));
  parts.push_back({0xff, 0xd9});
  return joined(parts);
}

TEST(ImageDecoder, ManyScansAreCorrupt) {
  const RgbImage image = decoded(jpeg_with_scans(500));
  EXPECT_EQ(image.height(), 16);
  EXPECT_EQ(pixels_of(image), Bytes(3 * 16 * 16, 128));
  EXPECT_EQ(corruption_of(jpeg_with_scans(501)), "damaged JPEG: more than 500 scans");
  ImageDecoder decoder;  // goes on with the next image
  RgbImage next;
  EXPECT_THROW(decoder.decode(jpeg_with_scans(501), next), CorruptImageError);
  EXPECT_NO_THROW(decoder.decode(jpeg_with_scans(500), next));
  EXPECT_EQ(pixels_of(next), pixels_of(image));
}

TEST(ImageDecoder, LargeImagesHaveFewerScans) {
  EXPECT_EQ(most_jpeg_scans(1), 500);
  EXPECT_EQ(most_jpeg_scans(8'000'000), 500);
  EXPECT_EQ(most_jpeg_scans(kMaxImagePixels), 64);
  EXPECT_EQ(corruption_of(jpeg_with_scans(65, 8192)), "damaged JPEG: more than 64 scans");
}

Bytes png_chunk(const std::string& type, const Bytes& content) {
  Bytes bytes;
  put_big_endian(bytes, static_cast<std::uint32_t>(content.size()), 4);
  Bytes named(type.begin(), type.end());
  named.insert(named.end(), content.begin(), content.end());
  bytes.insert(bytes.end(), named.begin(), named.end());
  put_big_endian(
      bytes, static_cast<std::uint32_t>(crc32(0, named.data(), static_cast<uInt>(named.size()))),
      4);
  return bytes;
}

constexpr std::size_t kPngHeaderEnd = 8 + 25;  // the signature and IHDR

TEST(ImageDecoder, HugeSidesAreCorruptBeforeMemoryIsTaken) {
  Bytes jpeg = jpeg_of(pattern(16, 16), 16, 16);
  const Bytes start_of_frame = {0xff, 0xc0, 0x00, 0x11, 0x08};
  const auto sides =
      std::search(jpeg.begin(), jpeg.end(), start_of_frame.begin(), start_of_frame.end()) + 5;
  for (const std::ptrdiff_t i : {0, 2}) {
    sides[i] = 0xff;
    sides[i + 1] = 0xdc;
  }
  EXPECT_EQ(corruption_of(jpeg),
            "is 65500×65500 pixels; at most 32768 along a side and 67108864 in all are decoded");
  const Bytes png = png_of(pattern(4, 4), 4, 4);
  Bytes header;
  put_big_endian(header, 32768, 4);
  put_big_endian(header, 2049, 4);
  header.insert(header.end(), {8, 2, 0, 0, 1});  // interlaced
  EXPECT_EQ(corruption_of(joined({{png.begin(), png.begin() + 8},
                                  png_chunk("IHDR", header),
                                  {png.begin() + kPngHeaderEnd, png.end()}})),
            "is 32768×2049 pixels; at most 32768 along a side and 67108864 in all are decoded");
}

long peak_kilobytes() {
  rusage usage{};
  getrusage(RUSAGE_SELF, &usage);
  return usage.ru_maxrss;
}

TEST(ImageDecoder, TextsOfAPngAreNotInflated) {
  constexpr std::size_t kText = 7'900'000, kTexts = 80;
  Bytes deflated(compressBound(kText));
  uLongf size = deflated.size();
  ASSERT_EQ(compress(deflated.data(), &size, Bytes(kText, 'a').data(), kText), Z_OK);
  deflated.resize(size);
  const Bytes png = png_of(pattern(5, 7), 5, 7);
  std::vector<Bytes> parts = {{png.begin(), png.begin() + kPngHeaderEnd}};
  for (std::size_t i = 0; i < kTexts; ++i) {
    parts.push_back(png_chunk("zTXt", joined({{'a', 0, 0}, deflated})));
    parts.push_back(png_chunk("iTXt", joined({{'b', 0, 1, 0, 0, 0}, deflated})));
  }
  parts.push_back({png.begin() + kPngHeaderEnd, png.end()});
  const Bytes bomb = joined(parts);
  const long before = peak_kilobytes();
  EXPECT_EQ(pixels_of(decoded(bomb)), pattern(5, 7));
  EXPECT_LT(peak_kilobytes() - before, 64 * 1024);
}

TEST(ImageDecoder, TransparencyOfAPaletteIsStillDropped) {
  const Bytes png = png_of({10, 20, 30, 255, 40, 50, 60, 0}, 1, 2, PNG_FORMAT_RGBA);
  EXPECT_EQ(pixels_of(decoded(png)), (Bytes{10, 20, 30, 40, 50, 60}));
}

}  // namespace
}  // namespace syncnorm
