// Reads the size and kind of an image from its first bytes, without decoding it.
#pragma once

#include <cstdint>
#include <filesystem>
#include <span>
#include <string>

namespace syncnorm {

struct ImageHeader {
  enum class Format { unknown, jpeg, png };
  Format format = Format::unknown;
  int height = 0, width = 0;  // 0: not found
  int bit_depth = 0;          // PNG: bits per channel, or per palette index
  int color_type = 0;         // PNG: as in its header
  bool cut = false;           // the header may go on after the bytes that were given
};

/// Parses the beginning of an image.
ImageHeader parse_image_header(std::span<const std::uint8_t> bytes);

/// Reads as much of a file as its header needs. Throws ReadError if it cannot be read.
ImageHeader read_image_header(const std::filesystem::path& path);

/// Returns true if the bytes begin like a PNG.
bool is_png(std::span<const std::uint8_t> bytes);

/// Returns why an image is no mask and what would be right, to follow its name; "" if it is one: a
/// PNG with one channel, or a palette, of at most 8 bits.
std::string mask_problem(const ImageHeader& header);

/// Returns why a mask does not fit its image, to follow its name; "" if it does.
std::string size_problem(int mask_height, int mask_width, int height, int width);

}  // namespace syncnorm
