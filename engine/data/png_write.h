// Writes PNG files with libpng: masks, whose values are indices into a palette, and RGB images.
#pragma once

#include <array>
#include <cstdint>
#include <span>
#include <string>

namespace syncnorm {

using Color = std::array<std::uint8_t, 3>;

/// Returns the color of a class: those of PASCAL VOC (Everingham et al. 2010), in which 0 is black,
/// and 255, ignored, is light.
Color class_color(int label);

/// Returns the bytes of a PNG. `pixels` are [height, width]: 8-bit indices into the palette of
/// class_color().
std::string mask_png(int height, int width, std::span<const std::uint8_t> pixels);
/// `pixels` are [height, width, 3].
std::string rgb_png(int height, int width, std::span<const std::uint8_t> pixels);

}  // namespace syncnorm
