// The loops of pixel_loops.h, included by files that are each compiled for their own instruction
// set. Everything is in an unnamed namespace and nothing calls the library, so that the linker
// cannot pick code compiled for AVX for the baseline. The including file must first define:
//   Floats                      a vector of floats
//   unpack(bytes, Floats[4])    four vectors of the bytes' values
//   pack(Floats[4], bytes)      the reverse, truncated and clamped to bytes
#pragma once

#include <emmintrin.h>

#include "engine/data/pixel_loops.h"

namespace syncnorm {
namespace {

// ---- Resampling.

/// Adds the weighted sum of N rows to `out`, or stores it (`first`).
template <int N, bool first>
void add_rows(const std::uint8_t* const* rows, const float* weights, std::size_t values,
              float* __restrict out) {
  const std::uint8_t* source[N];
  float weight[N];
  for (int t = 0; t < N; ++t) {
    source[t] = rows[t];
    weight[t] = weights[t];
  }
  for (std::size_t i = 0; i < values; ++i) {
    float sum = weight[0] * static_cast<float>(source[0][i]);
    if (!first) sum = out[i] + sum;
    for (int t = 1; t < N; ++t) sum += weight[t] * static_cast<float>(source[t][i]);
    out[i] = sum;
  }
}

template <bool first>
int add_some_rows(const std::uint8_t* const* rows, const float* weights, int taps,
                  std::size_t values, float* out) {
  switch (taps) {
    case 1:
      add_rows<1, first>(rows, weights, values, out);
      return 1;
    case 2:
      add_rows<2, first>(rows, weights, values, out);
      return 2;
    case 3:
      add_rows<3, first>(rows, weights, values, out);
      return 3;
    default:
      add_rows<4, first>(rows, weights, values, out);
      return 4;
  }
}

inline void mix_rows(const std::uint8_t* const* rows, const float* weights, int taps,
                     std::size_t values, float* out) {
  int done = add_some_rows<true>(rows, weights, taps, values, out);
  while (done < taps)
    done += add_some_rows<false>(rows + done, weights + done, taps - done, values, out);
}

/// Returns one mixed pixel; the fourth value is undefined. N is `taps`, or 0 for any number.
template <int N>
inline __m128i mixed_pixel(const float* source, const float* weight, int taps) {
  __m128 sum = _mm_mul_ps(_mm_set1_ps(weight[0]), _mm_loadu_ps(source));
  for (int t = 1; t < (N > 0 ? N : taps); ++t)
    sum = _mm_add_ps(sum, _mm_mul_ps(_mm_set1_ps(weight[t]), _mm_loadu_ps(source + 3 * t)));
  return _mm_cvttps_epi32(_mm_add_ps(sum, _mm_set1_ps(0.5f)));
}

/// Writes the three bytes of a pixel, and an undefined one after them.
inline void store_pixel(__m128i bytes, std::uint8_t* out) {
  const int pixel = _mm_cvtsi128_si32(bytes);
  __builtin_memcpy(out, &pixel, sizeof pixel);
}

template <int N>
void mix_columns_of(const float* row, const int* first, const float* weights, int taps, int pixels,
                    std::uint8_t* out) {
  const auto pixel = [&](int x) {
    return mixed_pixel<N>(row + 3 * std::ptrdiff_t{first[x]},
                          weights + std::ptrdiff_t{x} * (N > 0 ? N : taps), taps);
  };
  int x = 0;
  for (; x + 4 < pixels; x += 4, out += 12) {
    const __m128i low = _mm_packs_epi32(pixel(x), pixel(x + 1));
    const __m128i high = _mm_packs_epi32(pixel(x + 2), pixel(x + 3));
    const __m128i bytes = _mm_packus_epi16(low, high);
    store_pixel(bytes, out);
    store_pixel(_mm_srli_si128(bytes, 4), out + 3);
    store_pixel(_mm_srli_si128(bytes, 8), out + 6);
    store_pixel(_mm_srli_si128(bytes, 12), out + 9);
  }
  for (; x < pixels; ++x, out += 3) {
    const __m128i words = _mm_packs_epi32(pixel(x), pixel(x));
    const int bytes = _mm_cvtsi128_si32(_mm_packus_epi16(words, words));
    __builtin_memcpy(out, &bytes, 3);
  }
}

inline void mix_columns(const float* row, const int* first, const float* weights, int taps,
                        int pixels, std::uint8_t* out) {
  switch (taps) {
    case 2:
      return mix_columns_of<2>(row, first, weights, taps, pixels, out);
    case 3:
      return mix_columns_of<3>(row, first, weights, taps, pixels, out);
    case 4:
      return mix_columns_of<4>(row, first, weights, taps, pixels, out);
    default:
      return mix_columns_of<0>(row, first, weights, taps, pixels, out);
  }
}

// ---- Colors.

/// Returns toward + factor · (value − toward), rounded.
inline std::uint8_t blended(std::uint8_t value, float toward, float factor) {
  const float shifted = toward + factor * (static_cast<float>(value) - toward) + 0.5f;
  const int whole = static_cast<int>(shifted);
  return static_cast<std::uint8_t>(whole < 0 ? 0 : (whole > 255 ? 255 : whole));
}

inline void blend(std::uint8_t* bytes, std::size_t count, float toward, float factor) {
  constexpr std::size_t kStep = sizeof(Floats);  // bytes in four vectors
  std::size_t i = 0;
  for (; i + kStep <= count; i += kStep) {
    Floats values[4];
    unpack(bytes + i, values);
    for (Floats& value : values) value = toward + factor * (value - toward) + 0.5f;
    pack(values, bytes + i);
  }
  for (; i < count; ++i) bytes[i] = blended(bytes[i], toward, factor);
}

inline void add_channels(const std::uint8_t* pixels, std::size_t count, std::uint64_t* sums) {
  constexpr std::size_t kBlock = 48;  // values: whole pixels and whole vectors
  const std::size_t values = 3 * count;
  std::size_t i = 0;
  while (i + kBlock <= values) {
    std::uint16_t part[kBlock] = {};  // sums of at most 257 bytes, which fit
    for (int blocks = 0; blocks < 257 && i + kBlock <= values; ++blocks, i += kBlock)
      for (std::size_t k = 0; k < kBlock; ++k)
        part[k] = static_cast<std::uint16_t>(part[k] + pixels[i + k]);
    for (std::size_t k = 0; k < kBlock; ++k) sums[k % 3] += part[k];
  }
  for (; i < values; ++i) sums[i % 3] += pixels[i];
}

inline void saturate(std::uint8_t* pixels, std::size_t count, float factor) {
  for (std::size_t i = 0; i < count; ++i, pixels += 3) {
    const int scaled = pixels[0] * kLuma[0] + pixels[1] * kLuma[1] + pixels[2] * kLuma[2];
    const float luma = static_cast<float>(scaled) * 0x1.0p-16f;  // exact: below 2²⁴
    for (int c = 0; c < 3; ++c) pixels[c] = blended(pixels[c], luma, factor);
  }
}

inline constexpr PixelLoops kLoops = {mix_rows, mix_columns, blend, add_channels, saturate};

}  // namespace
}  // namespace syncnorm
