// The per-channel constants of normalization on the CPU: vectors filled with norm_channel.h's
// formulas, which stand between the statistics, in f64 or split into two floats, and the loops.
#pragma once

#include <cstddef>
#include <vector>

#include "kernels/norm_channel.h"

namespace syncnorm::cpu {

using syncnorm::NormVectors;

/// The lines y = (x − mean)·scale + shift of all channels.
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

/// The lines dx = a·g + b·h(x − mean) + d of all channels.
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
