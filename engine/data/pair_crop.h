// The part of an image and of its mask that becomes a sample, with labels per pixel.
//
// Images are resampled (image_resample.h); masks take the nearest pixel, since labels cannot be
// mixed. Pixel y of a side that is scaled from a to b pixels shows pixel ⌊(2y + 1) · a / 2b⌋, the
// one below its center. What the image does not cover has the mean color and kIgnoredPixel.
#pragma once

#include <array>
#include <cstdint>

#include "base/philox.h"
#include "engine/config/experiment.h"
#include "engine/data/image_resample.h"
#include "engine/data/png_codec.h"

namespace syncnorm {

/// A part of a scaled image, and its place in a sample.
struct PairCrop {
  Resize resize;          // its window is what the sample shows of the image
  int top = 0, left = 0;  // of the window in the sample
};

/// Returns the crop to config.height × config.width: the image is scaled by `scale`, and cropped or
/// padded at a place that is drawn from `random` in each direction, or centered if that is null.
PairCrop place_crop(int height, int width, const ImagesConfig& config, double scale,
                    RandomStream* random);

/// Returns config.mean as bytes.
std::array<std::uint8_t, 3> mean_color(const ImagesConfig& config);

/// Sets pixels[count, 3].
void fill_color(std::uint8_t* pixels, std::size_t count, const std::array<std::uint8_t, 3>& color);

/// Writes the window of a mask to out, whose rows are `stride` bytes apart.
void resample_mask(const MaskImage& mask, const Resize& resize, std::size_t stride,
                   std::uint8_t* out);

}  // namespace syncnorm
