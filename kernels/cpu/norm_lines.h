// The per-channel constants of normalization: what stands between the statistics, in f64 or split
// into two floats, and the loops over values.
#pragma once

#include <algorithm>
#include <cstddef>
#include <vector>

#include "kernels/norm_math.h"

namespace syncnorm::cpu {

/// The values of one normalization layer that its loops need per channel. `mean` is [2, C]: rounded
/// and rest; `correction` is [2, C]: r and d of batch renormalization. γ, β and correction may be
/// null.
struct NormVectors {
  const float* mean;
  const float* inv_std;
  const float* gamma;
  const float* beta;
  const float* correction = nullptr;
};

/// y = (x − mean)·scale + shift with scale = γ·inv_std [·r] and shift = β [+ γ·d] − rest·scale.
struct Affine {
  std::vector<float> scale, shift;
  explicit Affine(int channels)
      : scale(static_cast<std::size_t>(channels)), shift(static_cast<std::size_t>(channels)) {}

  void set(const NormVectors& v) {
    const std::size_t channels = scale.size();
    for (std::size_t c = 0; c < channels; ++c) {
      const double gamma = v.gamma != nullptr ? static_cast<double>(v.gamma[c]) : 1.0;
      double offset = v.beta != nullptr ? static_cast<double>(v.beta[c]) : 0.0;
      double factor = gamma * v.inv_std[c];
      if (v.correction != nullptr) {
        factor *= v.correction[c];
        offset += gamma * v.correction[channels + c];
      }
      scale[c] = static_cast<float>(factor);
      shift[c] = static_cast<float>(offset - v.mean[channels + c] * factor);
    }
  }
};

/// The lines dx = a·g + b·h(x − mean) + d of all channels.
struct Lines {
  std::vector<float> a, b, d;
  explicit Lines(int channels) : a(static_cast<std::size_t>(channels)), b(a.size()), d(a.size()) {}

  /// `offset` is what h has beside the loop's own value: the rest of the mean, or a mean of signs.
  void set(std::size_t c, const InputGradientLine& line, double offset) {
    a[c] = static_cast<float>(line.a);
    b[c] = static_cast<float>(line.b);
    d[c] = static_cast<float>(line.d - line.b * offset);
  }
};

/// Splits a mean into a float and what that leaves over.
inline void split_mean(double mean, float& rounded, float& rest) {
  rounded = static_cast<float>(mean);
  rest = static_cast<float>(mean - static_cast<double>(rounded));
}

}  // namespace syncnorm::cpu
