// See image_resample.h.
#include "engine/data/image_resample.h"

#include <algorithm>
#include <array>
#include <cassert>
#include <cmath>
#include <cstddef>
#include <iterator>

#include "engine/data/pixel_loops.h"

namespace syncnorm {

void Resampler::Filter::make(int begin, int size, int scaled, int offset, int pixels) {
  const double step = static_cast<double>(size) / scaled;
  const double radius = std::max(step, 1.0);
  taps = std::min(size, static_cast<int>(std::ceil(radius)) * 2 + 1);
  first.resize(static_cast<std::size_t>(pixels));
  weights.resize(static_cast<std::size_t>(pixels) * static_cast<std::size_t>(taps));
  exact.resize(static_cast<std::size_t>(taps));
  float* out = weights.data();
  for (int i = 0; i < pixels; ++i) {
    const double center = (offset + i + 0.5) * step;
    const int low = std::clamp(static_cast<int>(std::floor(center - radius)), 0, size - taps);
    double sum = 0.0;
    for (int t = 0; t < taps; ++t) {
      const double distance = std::abs(low + t + 0.5 - center) / radius;
      exact[static_cast<std::size_t>(t)] = std::max(0.0, 1.0 - distance);
      sum += exact[static_cast<std::size_t>(t)];
    }
    first[static_cast<std::size_t>(i)] = begin + low;
    for (const double weight : exact) *out++ = static_cast<float>(weight / sum);
  }
  trim();
}

/// Drops taps with weight 0, as many as can be dropped for all pixels, from either side.
void Resampler::Filter::trim() {
  const auto unused = [](auto from, auto to) {
    return std::find_if(from, to, [](float weight) { return weight != 0.0f; }) - from;
  };
  std::ptrdiff_t used = 1;
  for (auto one = weights.begin(); one != weights.end(); one += taps) {
    const auto end = std::make_reverse_iterator(one);
    used = std::max(used, taps - unused(one, one + taps) - unused(end - taps, end));
  }
  auto out = weights.begin(), one = out;
  for (int& source : first) {
    const std::ptrdiff_t shift = std::min(unused(one, one + taps), taps - used);
    source += static_cast<int>(shift);
    for (std::ptrdiff_t t = 0; t < used; ++t) *out++ = one[shift + t];
    one += taps;
  }
  taps = static_cast<int>(used);
}

/// Mixes row y of the window into row_, over the source columns that are needed.
void Resampler::mix_rows(const RgbImage& image, int y, int left, std::size_t values) {
  const int first = rows_.first[static_cast<std::size_t>(y)];
  for (int t = 0; t < rows_.taps; ++t)
    sources_[static_cast<std::size_t>(t)] = image.row(first + t) + 3 * std::ptrdiff_t{left};
  loops_.mix_rows(sources_.data(), rows_.weights.data() + std::ptrdiff_t{y} * rows_.taps,
                  rows_.taps, values, row_.data());
}

void Resampler::resample(const RgbImage& image, const Resize& resize, std::uint8_t* out) {
  const Box& box = resize.box;
  assert(box.top >= 0 && box.left >= 0 && box.height > 0 && box.width > 0);
  assert(box.top + box.height <= image.height() && box.left + box.width <= image.width());
  assert(resize.top >= 0 && resize.top + resize.window_height <= resize.height);
  assert(resize.left >= 0 && resize.left + resize.window_width <= resize.width);
  rows_.make(box.top, box.height, resize.height, resize.top, resize.window_height);
  columns_.make(box.left, box.width, resize.width, resize.left, resize.window_width);
  const int left = columns_.first.front();
  const std::size_t values =
      3 * static_cast<std::size_t>(columns_.first.back() + columns_.taps - left);
  row_.resize(values + 1);
  sources_.resize(static_cast<std::size_t>(rows_.taps));
  for (int& first : columns_.first) first -= left;
  const std::size_t row_bytes = 3 * static_cast<std::size_t>(resize.window_width);
  for (int y = 0; y < resize.window_height; ++y, out += row_bytes) {
    mix_rows(image, y, left, values);
    loops_.mix_columns(row_.data(), columns_.first.data(), columns_.weights.data(), columns_.taps,
                       resize.window_width, out);
  }
}

void adjust_colors(std::uint8_t* pixels, std::size_t count, const ColorFactors& factors,
                   const PixelLoops& loops) {
  if (factors.brightness != 1.0f) loops.blend(pixels, 3 * count, 0.0f, factors.brightness);
  if (factors.contrast != 1.0f) {
    std::array<std::uint64_t, 3> sums{};
    loops.add_channels(pixels, count, sums.data());
    std::uint64_t luma = 0;
    for (std::size_t c = 0; c < 3; ++c) luma += static_cast<std::uint64_t>(kLuma[c]) * sums[c];
    const double mean = static_cast<double>(luma) / 65536.0 / static_cast<double>(count);
    loops.blend(pixels, 3 * count, static_cast<float>(mean), factors.contrast);
  }
  if (factors.saturation != 1.0f) loops.saturate(pixels, count, factors.saturation);
}

}  // namespace syncnorm
