// Normalization in f64 by the definition, as slow and as plain as it can be: the oracle for shapes
// and inputs that the golden files do not have.
#pragma once

#include <cmath>
#include <vector>

namespace syncnorm::test {

struct NormShape {
  int samples = 1, pixels = 1, channels = 1;
  int groups = 0;  // 0: batch normalization; else groups of channels within a sample
  double eps = 1e-5;
  bool centered = true;  // false: RMS normalization, the mean is 0

  std::size_t size() const {
    return static_cast<std::size_t>(samples) * static_cast<std::size_t>(pixels) *
           static_cast<std::size_t>(channels);
  }
  /// Number of the set of values that value i shares its statistics with.
  std::size_t set_of(std::size_t i) const {
    const auto c = static_cast<std::size_t>(channels);
    if (groups == 0) return i % c;
    const std::size_t sample = i / (c * static_cast<std::size_t>(pixels));
    return sample * static_cast<std::size_t>(groups) +
           i % c / (c / static_cast<std::size_t>(groups));
  }
  std::size_t sets() const {
    return static_cast<std::size_t>(groups == 0 ? channels : samples * groups);
  }
};

struct NormResult {
  std::vector<double> mean, variance;  // per set
  std::vector<double> y, dx, dgamma, dbeta, g;
};

/// y = [relu](γ·x̂ + β [+ residual]) and its gradients for dy. Empty vectors stand for absent
/// inputs.
inline NormResult norm_reference(const NormShape& shape, const std::vector<float>& x,
                                 const std::vector<float>& gamma, const std::vector<float>& beta,
                                 const std::vector<float>& residual, bool relu,
                                 const std::vector<float>& dy) {
  const std::size_t size = shape.size(), sets = shape.sets();
  const auto channels = static_cast<std::size_t>(shape.channels);
  NormResult r;
  std::vector<double> count(sets);
  r.mean.assign(sets, 0.0);
  r.variance.assign(sets, 0.0);
  for (std::size_t i = 0; i < size; ++i) {
    count[shape.set_of(i)] += 1.0;
    r.mean[shape.set_of(i)] += x[i];
  }
  for (std::size_t s = 0; s < sets; ++s) r.mean[s] = shape.centered ? r.mean[s] / count[s] : 0.0;
  for (std::size_t i = 0; i < size; ++i) {
    const double d = x[i] - r.mean[shape.set_of(i)];
    r.variance[shape.set_of(i)] += d * d;
  }
  for (std::size_t s = 0; s < sets; ++s) r.variance[s] /= count[s];

  const auto weight = [&](std::size_t i) {
    return gamma.empty() ? 1.0 : static_cast<double>(gamma[i % channels]);
  };
  const auto inv_std = [&](std::size_t i) {
    return 1.0 / std::sqrt(r.variance[shape.set_of(i)] + shape.eps);
  };
  std::vector<double> normalized(size), mean_g(sets), mean_gx(sets);
  r.y.resize(size);
  r.g.resize(size);
  r.dx.resize(size);
  r.dgamma.assign(channels, 0.0);
  r.dbeta.assign(channels, 0.0);
  for (std::size_t i = 0; i < size; ++i) {
    normalized[i] = (x[i] - r.mean[shape.set_of(i)]) * inv_std(i);
    const double offset = beta.empty() ? 0.0 : static_cast<double>(beta[i % channels]);
    double y = normalized[i] * weight(i) + offset;
    if (!residual.empty()) y += residual[i];
    r.g[i] = !relu || y > 0.0 ? static_cast<double>(dy[i]) : 0.0;
    r.y[i] = relu && y <= 0.0 ? 0.0 : y;
    r.dgamma[i % channels] += r.g[i] * normalized[i];
    r.dbeta[i % channels] += r.g[i];
    if (shape.centered) mean_g[shape.set_of(i)] += weight(i) * r.g[i] / count[shape.set_of(i)];
    mean_gx[shape.set_of(i)] += weight(i) * r.g[i] * normalized[i] / count[shape.set_of(i)];
  }
  for (std::size_t i = 0; i < size; ++i) {
    const std::size_t s = shape.set_of(i);
    r.dx[i] = inv_std(i) * (weight(i) * r.g[i] - mean_g[s] - normalized[i] * mean_gx[s]);
  }
  return r;
}

}  // namespace syncnorm::test
