// See image_resample.h.
#include "engine/data/image_resample.h"

#include <algorithm>
#include <cassert>
#include <cmath>
#include <cstddef>

namespace syncnorm {
namespace {

std::uint8_t to_byte(float value) {
  return static_cast<std::uint8_t>(std::clamp(value + 0.5f, 0.0f, 255.0f));
}

}  // namespace

void Resampler::Filter::make(int begin, int size, int scaled, int offset, int pixels) {
  const double step = static_cast<double>(size) / scaled;
  const double radius = std::max(step, 1.0);
  taps = std::min(size, static_cast<int>(std::ceil(radius)) * 2 + 1);
  first.resize(static_cast<std::size_t>(pixels));
  weights.assign(static_cast<std::size_t>(pixels) * static_cast<std::size_t>(taps), 0.0f);
  std::vector<double> exact(static_cast<std::size_t>(taps));
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
    float* out = weights.data() + static_cast<std::ptrdiff_t>(i) * taps;
    for (const double weight : exact) *out++ = static_cast<float>(weight / sum);
  }
}

/// Row y of the window, over the source columns that it needs, to row_.
void Resampler::mix_rows(const RgbImage& image, int y, int left, std::size_t values) {
  const auto at = static_cast<std::size_t>(y);
  const float* weights = rows_.weights.data() + at * static_cast<std::size_t>(rows_.taps);
  float* sum = row_.data();
  std::fill(sum, sum + values, 0.0f);
  for (int t = 0; t < rows_.taps; ++t) {
    const float weight = weights[t];
    if (weight == 0.0f) continue;
    const std::uint8_t* source =
        image.row(rows_.first[at] + t) + 3 * static_cast<std::size_t>(left);
    for (std::size_t i = 0; i < values; ++i) sum[i] += weight * static_cast<float>(source[i]);
  }
}

void Resampler::mix_columns(int left, int pixels, std::uint8_t* out) const {
  const float* weight = columns_.weights.data();
  for (int x = 0; x < pixels; ++x) {
    const float* source = row_.data() + 3 * (columns_.first[static_cast<std::size_t>(x)] - left);
    std::array<float, 3> sum{};
    for (int t = 0; t < columns_.taps; ++t, ++weight, source += 3)
      for (std::size_t c = 0; c < 3; ++c) sum[c] += *weight * source[c];
    for (std::size_t c = 0; c < 3; ++c) *out++ = to_byte(sum[c]);
  }
}

void Resampler::resample(const RgbImage& image, const Resize& resize, std::uint8_t* out) {
  const Box& box = resize.box;
  assert(box.top >= 0 && box.left >= 0 && box.height > 0 && box.width > 0);
  assert(box.top + box.height <= image.height && box.left + box.width <= image.width());
  assert(resize.top >= 0 && resize.top + resize.window_height <= resize.height);
  assert(resize.left >= 0 && resize.left + resize.window_width <= resize.width);
  rows_.make(box.top, box.height, resize.height, resize.top, resize.window_height);
  columns_.make(box.left, box.width, resize.width, resize.left, resize.window_width);
  const int left = columns_.first.front();
  const std::size_t values =
      3 * static_cast<std::size_t>(columns_.first.back() + columns_.taps - left);
  row_.resize(values);
  const std::size_t row_bytes = 3 * static_cast<std::size_t>(resize.window_width);
  for (int y = 0; y < resize.window_height; ++y, out += row_bytes) {
    mix_rows(image, y, left, values);
    mix_columns(left, resize.window_width, out);
  }
}

namespace {

/// 65536 times the luma.
std::uint32_t scaled_luma(const std::uint8_t* pixel) {
  return pixel[0] * 19595u + pixel[1] * 38470u + pixel[2] * 7471u;
}

/// toward + factor · (value − toward)
std::uint8_t blended(std::uint8_t value, float toward, float factor) {
  return to_byte(toward + factor * (static_cast<float>(value) - toward));
}

void blend_all(std::uint8_t* pixels, std::size_t count, float toward, float factor) {
  std::array<std::uint8_t, 256> table;
  for (std::size_t v = 0; v < table.size(); ++v)
    table[v] = blended(static_cast<std::uint8_t>(v), toward, factor);
  for (std::size_t i = 0; i < 3 * count; ++i) pixels[i] = table[pixels[i]];
}

}  // namespace

void adjust_colors(std::uint8_t* pixels, std::size_t count, const ColorFactors& factors) {
  if (factors.brightness != 1.0f) blend_all(pixels, count, 0.0f, factors.brightness);
  if (factors.contrast != 1.0f) {
    std::uint64_t sum = 0;
    for (std::size_t i = 0; i < count; ++i) sum += scaled_luma(pixels + 3 * i);
    const double mean = static_cast<double>(sum) / 65536.0 / static_cast<double>(count);
    blend_all(pixels, count, static_cast<float>(mean), factors.contrast);
  }
  if (factors.saturation == 1.0f) return;
  for (std::size_t i = 0; i < count; ++i, pixels += 3) {
    const float luma = static_cast<float>(scaled_luma(pixels)) * 0x1.0p-16f;
    for (int c = 0; c < 3; ++c) pixels[c] = blended(pixels[c], luma, factors.saturation);
  }
}

}  // namespace syncnorm
