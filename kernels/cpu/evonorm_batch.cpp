// EvoNorm-B0 on the CPU, one sample after another. Only its own statistics differ from sample to
// sample; batch norm's operations compute the group's.
#include <algorithm>
#include <cmath>
#include <vector>

#include "kernels/cpu/context.h"
#include "kernels/cpu/norm_lines.h"
#include "kernels/evonorm_channel.h"

namespace syncnorm::cpu {
namespace {

template <class EvoNormOp>
std::size_t values_per_sample(const EvoNormOp& op) {
  return static_cast<std::size_t>(op.pixels) * static_cast<std::size_t>(op.channels);
}

template <class S>
KernelPtr make_moments(Context& context, const EvoNormMoments& op) {
  const auto& loops = context.loops.of<S>();
  const auto channels = static_cast<std::size_t>(op.channels);
  return make_kernel<EvoNormMoments, S>(
      [op, &loops, mean = std::vector<double>(channels), m2 = std::vector<double>(channels)](
          const auto& a, const StepState&) mutable {
        const std::size_t c_end = mean.size();
        const double n = op.pixels;
        if (a.sums != nullptr) {
          std::fill_n(a.sums, 2 * c_end + 1, 0.0);
          a.sums[0] = n * op.samples;
        }
        for (std::size_t s = 0; s < static_cast<std::size_t>(op.samples); ++s) {
          loops.moments(a.x + s * values_per_sample(op), static_cast<std::size_t>(op.pixels),
                        op.channels, mean.data(), m2.data());
          float* means = a.mean + s * 2 * c_end;
          for (std::size_t c = 0; c < c_end; ++c) {
            split_mean(mean[c], means[c], means[c_end + c]);
            a.deviation[s * c_end + c] = static_cast<float>(std::sqrt(m2[c] / n + op.eps));
            if (a.sums == nullptr) continue;
            a.sums[1 + c] += n * mean[c];
            a.sums[1 + c_end + c] += m2[c] + n * mean[c] * mean[c];
          }
        }
      });
}

/// The vectors of one sample; 1/inv_std is computed in f32, so that all passes have one σ_B.
class Vectors {
 public:
  explicit Vectors(int channels)
      : gains_(channels), of_batch_(static_cast<std::size_t>(channels)) {}

  template <class Operands>
  void set(const Operands& a) {
    for (std::size_t c = 0; c < of_batch_.size(); ++c) of_batch_[c] = 1.0f / a.inv_std[c];
  }
  template <class Operands>
  EvoNormVectors of(const Operands& a, std::size_t sample) const {
    return {gains_.gamma(a.gamma), gains_.beta(a.beta), a.slope, of_batch_.data(),
            a.deviation + sample * of_batch_.size()};
  }

 private:
  Gains gains_;
  std::vector<float> of_batch_;
};

template <class S>
KernelPtr make_apply(Context& context, const EvoNormApply& op) {
  const auto& loops = context.loops.of<S>();
  return make_kernel<EvoNormApply, S>([op, &loops, vectors = Vectors(op.channels)](
                                          const auto& a, const StepState&) mutable {
    vectors.set(a);
    for (std::size_t s = 0; s < static_cast<std::size_t>(op.samples); ++s) {
      const std::size_t at = s * values_per_sample(op);
      loops.evonorm({a.x + at, a.residual != nullptr ? a.residual + at : nullptr, a.y + at,
                     vectors.of(a, s), static_cast<std::size_t>(op.pixels), op.channels, op.relu});
    }
  });
}

/// Its vectors are reused from call to call.
template <class S>
class GradientSumsBody {
 public:
  GradientSumsBody(const EvoNormGradientSums& op, const StorageLoops<S>& loops)
      : op_(op),
        loops_(loops),
        vectors_(op.channels),
        gains_(op.channels),
        scratch_(5 * static_cast<std::size_t>(op.channels)),
        sums_(scratch_.size()),
        parameters_(3 * static_cast<std::size_t>(op.channels)) {}

  void operator()(const PointersOf<EvoNormGradientSums, S>& a, const StepState&) {
    const auto channels = static_cast<std::size_t>(op_.channels);
    const float* gamma = gains_.gamma(a.gamma);
    vectors_.set(a);
    std::fill(parameters_.begin(), parameters_.end(), 0.0);
    std::fill_n(a.sums, channels, 0.0);
    for (std::size_t s = 0; s < static_cast<std::size_t>(op_.samples); ++s) {
      const std::size_t at = s * values_per_sample(op_);
      const auto offset = [at](auto* p) { return p != nullptr ? p + at : nullptr; };
      std::fill(sums_.begin(), sums_.end(), 0.0);
      EvoNormGradientArgs<S> pass{a.dy + at,
                                  offset(a.dy2),
                                  a.x + at,
                                  offset(a.y),
                                  offset(a.g),
                                  vectors_.of(a, s),
                                  static_cast<std::size_t>(op_.pixels),
                                  op_.channels,
                                  op_.relu};
      pass.sums = sums_.data();
      pass.scratch = scratch_.data();
      loops_.evonorm_sums(pass);
      for (std::size_t c = 0; c < channels; ++c) {
        const double weight = gamma[c], k = a.inv_std[c];
        a.sums[c] += weight * sums_[channels + c];
        a.sample_sums[s * channels + c] = weight * sums_[3 * channels + c];
        parameters_[c] += k * sums_[channels + c] + sums_[2 * channels + c];
        parameters_[channels + c] += sums_[c];
        parameters_[2 * channels + c] -= weight * sums_[4 * channels + c];
      }
    }
    float* const outputs[] = {a.dgamma, a.dbeta, a.dslope};
    for (std::size_t p = 0; p < 3; ++p)
      for (std::size_t c = 0; c < channels && outputs[p] != nullptr; ++c)
        outputs[p][c] = static_cast<float>(parameters_[p * channels + c]);
  }

 private:
  EvoNormGradientSums op_;
  const StorageLoops<S>& loops_;
  Vectors vectors_;
  Gains gains_;
  std::vector<float> scratch_;
  std::vector<double> sums_, parameters_;
};

template <class S>
KernelPtr make_input_gradient(Context& context, const EvoNormInputGradient& op) {
  const auto& loops = context.loops.of<S>();
  return make_kernel<EvoNormInputGradient, S>([op, &loops, vectors = Vectors(op.channels),
                                               lines = Lines(op.channels)](
                                                  const auto& a, const StepState&) mutable {
    const auto channels = static_cast<std::size_t>(op.channels);
    vectors.set(a);
    for (std::size_t s = 0; s < static_cast<std::size_t>(op.samples); ++s) {
      const std::size_t at = s * values_per_sample(op);
      for (std::size_t c = 0; c < channels; ++c)
        lines.set(c, evonorm_line({a.sums[0], a.gradient_sums[c], a.sample_sums[s * channels + c],
                                   a.deviation[s * channels + c]},
                                  op.pixels, a.inv_std[c], a.mean, a.sample_mean + s * 2 * channels,
                                  c, channels));
      EvoNormGradientArgs<S> pass{a.g + at,
                                  nullptr,
                                  a.x + at,
                                  nullptr,
                                  nullptr,
                                  vectors.of(a, s),
                                  static_cast<std::size_t>(op.pixels),
                                  op.channels,
                                  op.relu};
      pass.dx = a.dx + at;
      pass.mean = a.mean;
      pass.b = lines.b.data();
      pass.d = lines.d.data();
      loops.evonorm_gradient(pass);
    }
  });
}

}  // namespace

template <>
KernelPtr compile(Context& context, const EvoNormMoments& op) {
  return with_storage(op.storage, [&]<class S>() { return make_moments<S>(context, op); });
}

template <>
KernelPtr compile(Context& context, const EvoNormApply& op) {
  return with_storage(op.storage, [&]<class S>() { return make_apply<S>(context, op); });
}

template <>
KernelPtr compile(Context& context, const EvoNormGradientSums& op) {
  return with_storage(op.storage, [&]<class S>() -> KernelPtr {
    return make_kernel<EvoNormGradientSums, S>(GradientSumsBody<S>(op, context.loops.of<S>()));
  });
}

template <>
KernelPtr compile(Context& context, const EvoNormInputGradient& op) {
  return with_storage(op.storage, [&]<class S>() { return make_input_gradient<S>(context, op); });
}

}  // namespace syncnorm::cpu
