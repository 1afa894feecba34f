// See image_header.h.
#include "engine/data/image_header.h"

#include <fmt/format.h>

#include <algorithm>
#include <array>
#include <cstddef>
#include <vector>

#include "base/regular_file.h"
#include "engine/data/byte_reader.h"

namespace syncnorm {
namespace {

using Format = ImageHeader::Format;

constexpr std::array<std::uint8_t, 8> kPngMagic = {0x89, 'P', 'N', 'G', '\r', '\n', 0x1a, '\n'};
// Color types of PNG.
constexpr int kGrey = 0, kRgb = 2, kPalette = 3, kGreyAlpha = 4, kRgba = 6;

/// Reads a big-endian number of `count` bytes.
int number(std::span<const std::uint8_t> bytes, std::size_t at, std::size_t count) {
  std::uint32_t value = 0;
  for (std::size_t i = 0; i < count; ++i) value = value << 8 | bytes[at + i];
  return value > INT32_MAX ? 0 : static_cast<int>(value);
}

ImageHeader png_header(std::span<const std::uint8_t> bytes) {
  constexpr std::size_t kWidth = 16, kHeight = 20, kDepth = 24, kColor = 25;
  ImageHeader header;
  header.format = Format::png;
  header.cut = bytes.size() <= kColor;
  if (header.cut || number(bytes, 12, 4) != 0x49484452) return header;  // "IHDR"
  header.width = number(bytes, kWidth, 4);
  header.height = number(bytes, kHeight, 4);
  header.bit_depth = bytes[kDepth];
  header.color_type = bytes[kColor];
  return header;
}

/// Walks over the segments in front of the frame, which has the size.
ImageHeader jpeg_header(std::span<const std::uint8_t> bytes) {
  constexpr int kMostSegments = 4096;
  ImageHeader header;
  header.format = Format::jpeg;
  std::size_t at = 2;
  for (int i = 0; i < kMostSegments; ++i) {
    while (at + 1 < bytes.size() && bytes[at] == 0xff && bytes[at + 1] == 0xff) ++at;  // filling
    header.cut = at + 9 > bytes.size();
    if (header.cut || bytes[at] != 0xff) return header;
    const std::uint8_t marker = bytes[at + 1];
    if (marker == 0xda || marker == 0xd9) return header;  // the image begins, or ends, without one
    const bool frame =
        marker >= 0xc0 && marker <= 0xcf && marker != 0xc4 && marker != 0xc8 && marker != 0xcc;
    if (frame) {
      header.height = number(bytes, at + 5, 2);
      header.width = number(bytes, at + 7, 2);
      return header;
    }
    const bool alone = marker == 0x01 || (marker >= 0xd0 && marker <= 0xd8);
    at += alone ? 2 : 2 + static_cast<std::size_t>(number(bytes, at + 2, 2));
  }
  return header;
}

}  // namespace

bool is_png(std::span<const std::uint8_t> bytes) {
  return bytes.size() >= kPngMagic.size() &&
         std::equal(kPngMagic.begin(), kPngMagic.end(), bytes.begin());
}

ImageHeader parse_image_header(std::span<const std::uint8_t> bytes) {
  if (is_png(bytes)) return png_header(bytes);
  if (bytes.size() >= 3 && bytes[0] == 0xff && bytes[1] == 0xd8 && bytes[2] == 0xff)
    return jpeg_header(bytes);
  return {};
}

ImageHeader read_image_header(const std::filesystem::path& path) {
  // Profiles and previews in front of a JPEG's size take kilobytes, seldom more.
  constexpr std::size_t kFirst = 1 << 10, kMost = 1 << 24;
  RegularFile file(path);
  std::vector<std::uint8_t> bytes;
  for (std::size_t size = kFirst;; size *= 8) {
    const std::size_t held = bytes.size();
    bytes.resize(size);
    const std::size_t got = file.read(std::as_writable_bytes(std::span(bytes).subspan(held)));
    if (file.trouble() != FileTrouble::none) throw ReadError(path.string(), file.reason());
    bytes.resize(held + got);
    const ImageHeader header = parse_image_header(bytes);
    if (!header.cut || bytes.size() < size || size >= kMost) return header;
  }
}

std::string mask_problem(const ImageHeader& header) {
  constexpr const char* kExpected =
      "expected a PNG with grey values or palette indices of at most 8 bits, each the label of its "
      "pixel";
  if (header.format == Format::jpeg)
    return fmt::format("is a JPEG, which does not keep labels; {}", kExpected);
  if (header.format == Format::unknown || header.width == 0 || header.height == 0)
    return fmt::format("is no PNG; {}", kExpected);
  if (header.color_type == kRgb || header.color_type == kRgba)
    return fmt::format("has {} colors; {}", header.color_type == kRgb ? "RGB" : "RGBA", kExpected);
  if (header.color_type == kGreyAlpha) return fmt::format("has an alpha channel; {}", kExpected);
  if (header.bit_depth > 8) return fmt::format("has {} bits; {}", header.bit_depth, kExpected);
  if (header.color_type != kGrey && header.color_type != kPalette)
    return fmt::format("has colors of an unknown type; {}", kExpected);
  return "";
}

std::string size_problem(int mask_height, int mask_width, int height, int width) {
  if (mask_height == height && mask_width == width) return "";
  return fmt::format(
      "is {}×{} pixels and its image {}×{}; expected a label for every pixel of the image",
      mask_width, mask_height, width, height);
}

}  // namespace syncnorm
