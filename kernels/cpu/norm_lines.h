// Per-channel constants of normalization on the CPU: vectors that norm_channel.h's formulas fill
// from the statistics, for the loops to read.
#pragma once

#include <cstddef>
#include <vector>

#include "kernels/cpu/context.h"
#include "kernels/norm_channel.h"

namespace syncnorm::cpu {

using syncnorm::NormVectors;

/// The rows of the matrix [rows, channels] that a norm reads.
template <class NormOp>
std::size_t rows_of(const NormOp& op) {
  return static_cast<std::size_t>(op.samples) * static_cast<std::size_t>(op.pixels);
}

/// Returns true when the activations of a norm operation are too large for the caches.
template <class NormOp>
bool is_large(const NormOp& op) {
  return past_caches(rows_of(op) * static_cast<std::size_t>(op.channels), op.storage);
}

/// γ and β for loops that always read both: ones and zeros stand for absent vectors.
class Gains {
 public:
  explicit Gains(int channels)
      : ones_(static_cast<std::size_t>(channels), 1.0f), zeros_(ones_.size(), 0.0f) {}
  const float* gamma(const float* given) const { return given != nullptr ? given : ones_.data(); }
  const float* beta(const float* given) const { return given != nullptr ? given : zeros_.data(); }

 private:
  std::vector<float> ones_, zeros_;
};

/// The constants of y = (x − mean)·scale + shift for all channels.
struct Affine {
  std::vector<float> scale, shift;
  explicit Affine(int channels)
      : scale(static_cast<std::size_t>(channels)), shift(static_cast<std::size_t>(channels)) {}

  void set(const NormVectors& v) {
    for (std::size_t c = 0; c < scale.size(); ++c) {
      const AffineLine line = affine_line(v, c, scale.size());
      scale[c] = line.scale;
      shift[c] = line.shift;
    }
  }
};

/// The constants of dx = a·g + b·h(x − mean) + d for all channels.
struct Lines {
  std::vector<float> a, b, d;
  explicit Lines(int channels) : a(static_cast<std::size_t>(channels)), b(a.size()), d(a.size()) {}

  void set(std::size_t c, const GradientLine& line) {
    a[c] = line.a;
    b[c] = line.b;
    d[c] = line.d;
  }
};

}  // namespace syncnorm::cpu
