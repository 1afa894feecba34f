// See pair_crop.h.
#include "engine/data/pair_crop.h"

#include <algorithm>
#include <cassert>
#include <cmath>
#include <cstddef>

namespace syncnorm {
namespace {

struct Place {
  int from = 0, to = 0, size = 0;  // first pixel in the scaled image and in the sample; pixels
};

/// Places `scaled` pixels in `wanted`: cuts what is too much, pads what is too little.
Place place(int scaled, int wanted, RandomStream* random) {
  const int spare = std::abs(scaled - wanted);
  const int before = random == nullptr
                         ? spare / 2
                         : static_cast<int>(random->below(static_cast<std::uint64_t>(spare) + 1));
  if (scaled >= wanted) return {before, 0, wanted};
  return {0, before, scaled};
}

int scaled_side(int side, double scale) {
  return std::max(1, static_cast<int>(std::lround(side * scale)));
}

}  // namespace

PairCrop place_crop(int height, int width, const ImagesConfig& config, double scale,
                    RandomStream* random) {
  const int scaled_height = scaled_side(height, scale), scaled_width = scaled_side(width, scale);
  const Place rows = place(scaled_height, config.height, random);
  const Place columns = place(scaled_width, config.width, random);
  return {{{0, 0, height, width},
           scaled_height,
           scaled_width,
           rows.from,
           columns.from,
           rows.size,
           columns.size},
          rows.to,
          columns.to};
}

std::array<std::uint8_t, 3> mean_color(const ImagesConfig& config) {
  std::array<std::uint8_t, 3> color{};
  for (std::size_t c = 0; c < color.size(); ++c)
    color[c] = static_cast<std::uint8_t>(std::lround(255.0 * config.mean[c]));
  return color;
}

void fill_color(std::uint8_t* pixels, std::size_t count, const std::array<std::uint8_t, 3>& color) {
  for (std::size_t i = 0; i < count; ++i) pixels = std::copy(color.begin(), color.end(), pixels);
}

void resample_mask(const MaskImage& mask, const Resize& resize, std::size_t stride,
                   std::uint8_t* out) {
  const Box& box = resize.box;
  assert(box.top + box.height <= mask.height && box.left + box.width <= mask.width);
  const auto nearest = [](int at, int size, int scaled) {
    return static_cast<std::ptrdiff_t>((2 * std::int64_t{at} + 1) * size /
                                       (2 * std::int64_t{scaled}));
  };
  for (int y = 0; y < resize.window_height; ++y, out += stride) {
    const std::uint8_t* row =
        mask.pixels.data() +
        (box.top + nearest(resize.top + y, box.height, resize.height)) * mask.width + box.left;
    if (box.width == resize.width) {
      std::copy_n(row + resize.left, resize.window_width, out);
      continue;
    }
    for (int x = 0; x < resize.window_width; ++x)
      out[x] = row[nearest(resize.left + x, box.width, resize.width)];
  }
}

}  // namespace syncnorm
