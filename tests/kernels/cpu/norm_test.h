// The fixture of the normalization tests: whole forward and backward passes made of the operations
// of kernels/ops.h, as a compiled step strings them together.
#pragma once

#include <vector>

#include "tests/kernels/cpu/kernel_test.h"
#include "tests/kernels/cpu/norm_reference.h"
#include "tests/kernels/golden.h"

namespace syncnorm::test {

/// Inputs of one normalization; empty vectors are absent arguments.
struct NormInputs {
  std::vector<float> x, gamma, beta, residual, dy, dy2;
  std::vector<float> running_mean, running_var;
};

/// How a backward pass learns what ReLU cut off, and whether it keeps the masked gradient.
struct NormPath {
  bool relu = false;
  bool mask_from_y = false;
  bool keep_g = false;
};

struct NormOutputs {
  std::vector<float> y, dx, dgamma, dbeta, g, mean, inv_std, running_mean, running_var;
  std::vector<double> sums, gradient_sums;
};

class NormTest : public KernelTest {
 protected:
  Floats optional(const std::vector<float>& values) {
    return values.empty() ? Floats() : floats(values);
  }

  NormOutputs batch_norm(const NormShape& s, const NormInputs& in, const NormPath& path,
                         double momentum = 0.1) {
    const auto channels = static_cast<std::size_t>(s.channels);
    const Floats x = floats(in.x), gamma = optional(in.gamma), beta = optional(in.beta);
    const Floats residual = optional(in.residual), dy = floats(in.dy), dy2 = optional(in.dy2);
    const Floats running_mean = optional(in.running_mean), running_var = optional(in.running_var);
    const Floats mean = floats(2 * channels), inv_std = floats(channels);
    const Floats y = floats(in.x.size()), dx = floats(in.x.size());
    const Floats dgamma = in.gamma.empty() ? Floats() : floats(channels);
    const Floats dbeta = in.beta.empty() ? Floats() : floats(channels);
    const Floats g = path.keep_g ? floats(in.x.size()) : Floats();
    const Doubles sums = doubles(2 * channels + 1), gradient_sums = doubles(2 * channels);

    run(BatchMoments{s.samples, s.pixels, s.channels}, {x, sums});
    run(BatchFinalize{s.samples, s.channels, s.eps, momentum},
        {sums, mean, inv_std, running_mean, running_var, nullptr});
    run(BatchNormalize{s.samples, s.pixels, s.channels, path.relu},
        {x, mean, inv_std, gamma, beta, residual, nullptr, y});
    const Argument mask = path.mask_from_y ? Argument(y) : Argument(nullptr);
    run(BatchGradientSums{s.samples, s.pixels, s.channels, path.relu},
        {dy, dy2, x, mean, inv_std, gamma, beta, mask, nullptr, gradient_sums, dgamma, dbeta, g});
    run(BatchInputGradient{s.samples, s.pixels, s.channels, path.relu && !path.keep_g},
        {path.keep_g ? g : dy, x, mean, inv_std, gamma, beta, gradient_sums, sums, nullptr, nullptr,
         nullptr, dx});
    std::vector<float> rounded_mean = mean.values();
    rounded_mean.resize(channels);
    return {y.values(),           dx.values(),   dgamma.values(),       dbeta.values(),
            g.values(),           rounded_mean,  inv_std.values(),      running_mean.values(),
            running_var.values(), sums.values(), gradient_sums.values()};
  }

  NormOutputs group_norm(const NormShape& s, const NormInputs& in, const NormPath& path) {
    const auto channels = static_cast<std::size_t>(s.channels);
    const std::size_t per_sample = channels * static_cast<std::size_t>(s.samples);
    const Floats x = floats(in.x), gamma = optional(in.gamma), beta = optional(in.beta);
    const Floats residual = optional(in.residual), dy = floats(in.dy), dy2 = optional(in.dy2);
    const Floats mean = floats(2 * per_sample), inv_std = floats(per_sample);
    const Floats y = floats(in.x.size()), dx = floats(in.x.size());
    const Floats dgamma = in.gamma.empty() ? Floats() : floats(channels);
    const Floats dbeta = in.beta.empty() ? Floats() : floats(channels);
    const Floats g = path.keep_g ? floats(in.x.size()) : Floats();

    run(GroupNormForward{s.samples, s.pixels, s.channels, s.groups, s.eps, path.relu, s.centered},
        {x, gamma, beta, residual, y, mean, inv_std});
    const Argument mask = path.mask_from_y ? Argument(y) : Argument(nullptr);
    run(GroupNormBackward{s.samples, s.pixels, s.channels, s.groups, path.relu, s.centered},
        {dy, dy2, x, mean, inv_std, gamma, beta, mask, dx, dgamma, dbeta, g});
    return {y.values(),
            dx.values(),
            dgamma.values(),
            dbeta.values(),
            g.values(),
            mean.values(),
            inv_std.values(),
            {},
            {},
            {},
            {}};
  }

  NormOutputs normalize(const NormShape& s, const NormInputs& in, const NormPath& path) {
    return s.groups == 0 ? batch_norm(s, in, path) : group_norm(s, in, path);
  }
};

/// Magnitude of the terms whose difference is dx: with few values per set they nearly cancel, so
/// the error of dx is relative to them.
inline double gradient_scale(const std::vector<float>& inv_std, const std::vector<float>& dy) {
  double scale = 0.0, largest = 0.0;
  for (const float value : inv_std) scale = std::max(scale, static_cast<double>(value));
  for (const float value : dy) largest = std::max(largest, std::abs(static_cast<double>(value)));
  return scale * largest;
}

/// The inputs of a golden case of fused normalization.
inline NormInputs norm_inputs(const GoldenCase& g) {
  const auto optional = [&](const char* key) {
    return g.has(key) ? g.tensor(key) : std::vector<float>();
  };
  return {g.tensor("x"),
          optional("gamma"),
          optional("beta"),
          optional("residual"),
          g.tensor("dy"),
          {},
          optional("running_mean"),
          optional("running_var")};
}

}  // namespace syncnorm::test
