// Pixel loops of resampling and of color changes: one table per instruction set, chosen once at run
// time.
//
// Every sum has a fixed order and no operations are fused, so all tables give the same bits.
#pragma once

#include <cstddef>
#include <cstdint>

namespace syncnorm {

/// Pixels are RGB, three bytes or floats each. Rounding to bytes is clamp(value + ½, 0, 255),
/// truncated.
struct PixelLoops {
  /// Computes out[i] = Σ weights[t] · rows[t][i] for i < values, t < taps in order; taps ≥ 1.
  void (*mix_rows)(const std::uint8_t* const* rows, const float* weights, int taps,
                   std::size_t values, float* out);
  /// Computes out[x] = Σ weights[x][t] · row[first[x] + t] per channel, rounded; [pixels, 3]. Reads
  /// one float past the last pixel of `row`.
  void (*mix_columns)(const float* row, const int* first, const float* weights, int taps,
                      int pixels, std::uint8_t* out);
  /// Replaces each of `count` bytes by toward + factor · (byte − toward), rounded.
  void (*blend)(std::uint8_t* bytes, std::size_t count, float toward, float factor);
  /// Adds the values of each channel of pixels[count, 3] to sums[3].
  void (*add_channels)(const std::uint8_t* pixels, std::size_t count, std::uint64_t* sums);
  /// Blends each of `count` pixels toward its own luma.
  void (*saturate)(std::uint8_t* pixels, std::size_t count, float factor);
};

extern const PixelLoops pixel_loops_baseline, pixel_loops_avx2;

/// Returns the fastest table for this processor.
const PixelLoops& pixel_loops();

/// 65536 times the luma of ITU-R BT.601 is red · kLuma[0] + green · kLuma[1] + blue · kLuma[2].
inline constexpr int kLuma[3] = {19595, 38470, 7471};

}  // namespace syncnorm
