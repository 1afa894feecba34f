// Decodes PNG with libpng: images to RGB, and masks to labels.
#pragma once

#include <cstdint>
#include <span>
#include <vector>

#include "engine/data/image_codec.h"
#include "engine/data/image_header.h"

namespace syncnorm {

/// The class of a pixel that neither trains nor counts: padding, or marked so by the data set.
inline constexpr std::uint8_t kIgnoredPixel = 255;

/// The largest number of classes of masks: labels are bytes, and two values stay free.
inline constexpr int kMostMaskClasses = 254;

/// Labels [height, width]. Reused for the next mask, it rarely allocates.
struct MaskImage {
  int height = 0, width = 0;
  std::vector<std::uint8_t> pixels;
};

/// Decode a whole PNG. Throw CorruptImageError for one that is damaged or too large, std::bad_alloc
/// if memory runs out. decode_mask() takes the grey value or palette index of every pixel,
/// unscaled, and refuses what mask_problem() names.
void decode_png(std::span<const std::uint8_t> bytes, RgbImage& image);
void decode_mask(std::span<const std::uint8_t> bytes, MaskImage& mask);

/// Replaces `ignore_label` by kIgnoredPixel. Throws CorruptImageError for another label that is not
/// below `classes`, naming its first pixel.
void check_labels(MaskImage& mask, int classes, int ignore_label);

}  // namespace syncnorm
