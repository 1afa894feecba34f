// Switchable normalization on the CPU: the loops of group norm, sample by sample.
#include <algorithm>
#include <vector>

#include "kernels/cpu/context.h"
#include "kernels/cpu/norm_lines.h"
#include "kernels/switchable_math.h"

namespace syncnorm::cpu {
namespace {

template <class Op>
std::size_t values_of_sample(const Op& op) {
  return static_cast<std::size_t>(op.pixels) * static_cast<std::size_t>(op.channels);
}

double gamma_at(const float* gamma, std::size_t c) {
  return gamma != nullptr ? static_cast<double>(gamma[c]) : 1.0;
}

template <class S>
KernelPtr make_moments(Context& context, const SwitchableMoments& op) {
  const auto& loops = context.loops.of<S>();
  return make_kernel<SwitchableMoments, S>([op, &loops](const auto& a, const StepState&) {
    const auto channels = static_cast<std::size_t>(op.channels);
    const double pixels = op.pixels;
    double* const sums = a.sums;
    std::fill_n(sums, 2 * channels + 1, 0.0);
    sums[0] = pixels * op.samples;
    for (std::size_t n = 0; n < static_cast<std::size_t>(op.samples); ++n) {
      double *mean = a.moments + n * 2 * channels, *variance = mean + channels;
      loops.moments(a.x + n * values_of_sample(op), static_cast<std::size_t>(op.pixels),
                    op.channels, mean, variance);
      double total = 0.0, square = 0.0;
      for (std::size_t c = 0; c < channels; ++c) {
        sums[1 + c] += pixels * mean[c];
        sums[1 + channels + c] += variance[c] + pixels * mean[c] * mean[c];
        variance[c] /= pixels;
        total += mean[c];
      }
      const double layer_mean = total / op.channels;
      for (std::size_t c = 0; c < channels; ++c)
        square += variance[c] + (mean[c] - layer_mean) * (mean[c] - layer_mean);
      a.layer[2 * n] = layer_mean;
      a.layer[2 * n + 1] = square / op.channels;
    }
  });
}

template <class S>
KernelPtr make_forward(Context& context, const SwitchableForward& op) {
  const auto& loops = context.loops.of<S>();
  return make_kernel<SwitchableForward, S>([op, &loops, affine = Affine(op.channels)](
                                               const auto& a, const StepState&) mutable {
    const auto channels = static_cast<std::size_t>(op.channels);
    const SwitchShares of_mean = switch_shares(a.mean_weight);
    const SwitchShares of_variance = switch_shares(a.var_weight);
    for (std::size_t n = 0; n < static_cast<std::size_t>(op.samples); ++n) {
      float *mean = a.mean + n * 2 * channels, *inv_std = a.inv_std + n * channels;
      for (std::size_t c = 0; c < channels; ++c) {
        const MeanVariance m = switch_mix(
            switch_statistics(a.moments + n * 2 * channels, a.layer + 2 * n, a.batch, c, channels),
            of_mean, of_variance);
        split_mean(m.mean, mean[c], mean[channels + c]);
        inv_std[c] = static_cast<float>(inverse_std(m.variance, op.eps));
      }
      affine.set({mean, inv_std, a.gamma, a.beta});
      const std::size_t at = n * values_of_sample(op);
      loops.normalize({a.x + at, a.residual != nullptr ? a.residual + at : nullptr, a.y + at, mean,
                       affine.scale.data(), affine.shift.data(),
                       static_cast<std::size_t>(op.pixels), op.channels, op.relu, is_large(op)});
    }
  });
}

template <class S>
class GradientSumsBody {
 public:
  GradientSumsBody(const SwitchableGradientSums& op, const StorageLoops<S>& loops)
      : op_(op),
        loops_(loops),
        channels_(static_cast<std::size_t>(op.channels)),
        affine_(op.channels),
        sum_g_(channels_),
        sum_gx_(channels_),
        dgamma_(channels_),
        dbeta_(channels_) {}

  void operator()(const PointersOf<SwitchableGradientSums, S>& a, const StepState&) {
    const SwitchShares of_mean = switch_shares(a.mean_weight);
    const SwitchShares of_variance = switch_shares(a.var_weight);
    std::fill(dgamma_.begin(), dgamma_.end(), 0.0);
    std::fill(dbeta_.begin(), dbeta_.end(), 0.0);
    std::fill_n(a.sums, 2 * channels_, 0.0);
    SwitchShares d_mean{}, d_variance{};
    for (std::size_t n = 0; n < static_cast<std::size_t>(op_.samples); ++n) {
      sum_sample(a, n);
      double *local_mean = a.local + n * 2 * channels_, *local_variance = local_mean + channels_;
      for (std::size_t c = 0; c < channels_; ++c) {
        const SwitchStatistics s = switch_statistics(a.moments + n * 2 * channels_, a.layer + 2 * n,
                                                     a.batch, c, channels_);
        const SwitchLocal local =
            switch_local(gamma_at(a.gamma, c), a.inv_std[n * channels_ + c], sum_g_[c], sum_gx_[c]);
        local_mean[c] = local.mean;
        local_variance[c] = local.variance;
        a.sums[c] += of_mean.batch * local.mean;
        a.sums[channels_ + c] += of_variance.batch * local.variance;
        dgamma_[c] += sum_gx_[c];
        dbeta_[c] += sum_g_[c];
        d_mean.instance += local.mean * s.instance.mean;
        d_mean.layer += local.mean * s.layer.mean;
        d_mean.batch += local.mean * s.batch.mean;
        d_variance.instance += local.variance * s.instance.variance;
        d_variance.layer += local.variance * s.layer.variance;
        d_variance.batch += local.variance * s.batch.variance;
      }
    }
    switch_gradient(of_mean, d_mean, a.dmean_weight);
    switch_gradient(of_variance, d_variance, a.dvar_weight);
    for (std::size_t c = 0; c < channels_; ++c) {
      if (a.dgamma != nullptr) a.dgamma[c] = static_cast<float>(dgamma_[c]);
      if (a.dbeta != nullptr) a.dbeta[c] = static_cast<float>(dbeta_[c]);
    }
  }

 private:
  /// Σg and Σg·x̂ of the sample's channels.
  void sum_sample(const PointersOf<SwitchableGradientSums, S>& a, std::size_t n) {
    const std::size_t at = n * values_of_sample(op_);
    const auto offset = [at](auto* p) { return p != nullptr ? p + at : nullptr; };
    const float* mean = a.mean + n * 2 * channels_;
    const float* inv_std = a.inv_std + n * channels_;
    affine_.set({mean, inv_std, a.gamma, a.beta});
    loops_.gradient_sums({a.dy + at, offset(a.dy2), a.x + at, offset(a.y), offset(a.g), mean,
                          affine_.scale.data(), affine_.shift.data(), sum_g_.data(), sum_gx_.data(),
                          static_cast<std::size_t>(op_.pixels), op_.channels, op_.relu,
                          is_large(op_)});
    for (std::size_t c = 0; c < channels_; ++c)
      sum_gx_[c] =
          gradient_sum_of_normalized(sum_g_[c], sum_gx_[c], mean[channels_ + c], inv_std[c]);
  }

  SwitchableGradientSums op_;
  const StorageLoops<S>& loops_;
  std::size_t channels_;
  Affine affine_;
  std::vector<double> sum_g_, sum_gx_, dgamma_, dbeta_;
};

template <class S>
KernelPtr make_input_gradient(Context& context, const SwitchableInputGradient& op) {
  const auto& loops = context.loops.of<S>();
  return make_kernel<SwitchableInputGradient, S>([op, &loops, affine = Affine(op.channels),
                                                  lines = Lines(op.channels)](
                                                     const auto& a, const StepState&) mutable {
    const auto channels = static_cast<std::size_t>(op.channels);
    const SwitchShares of_mean = switch_shares(a.mean_weight);
    const SwitchShares of_variance = switch_shares(a.var_weight);
    for (std::size_t n = 0; n < static_cast<std::size_t>(op.samples); ++n) {
      const float *mean = a.mean + n * 2 * channels, *inv_std = a.inv_std + n * channels;
      const double *local_mean = a.local + n * 2 * channels,
                   *local_variance = local_mean + channels;
      SwitchPlace place{op.pixels, op.channels, a.sums[0], {}, {}, {}};
      for (std::size_t c = 0; c < channels; ++c) {
        place.sample.mean += local_mean[c];
        place.sample.variance += local_variance[c];
      }
      for (std::size_t c = 0; c < channels; ++c) {
        place.local = {local_mean[c], local_variance[c]};
        place.batch = {a.gradient_sums[c], a.gradient_sums[channels + c]};
        const double rest = mean[channels + c];
        const InputGradientLine line = switch_line(
            gamma_at(a.gamma, c), inv_std[c], mean[c] + rest,
            switch_statistics(a.moments + n * 2 * channels, a.layer + 2 * n, a.batch, c, channels),
            of_mean, of_variance, place);
        lines.set(c, gradient_line(line, rest));
      }
      affine.set({mean, inv_std, a.gamma, a.beta});
      const std::size_t at = n * values_of_sample(op);
      loops.input_gradient({a.g + at, a.x + at, a.dx + at, mean, affine.scale.data(),
                            affine.shift.data(), lines.a.data(), lines.b.data(), lines.d.data(),
                            static_cast<std::size_t>(op.pixels), op.channels, op.relu,
                            Direction::value, nullptr, nullptr, is_large(op)});
    }
  });
}

}  // namespace

template <>
KernelPtr compile(Context& context, const SwitchableMoments& op) {
  return with_storage(op.storage, [&]<class S>() { return make_moments<S>(context, op); });
}

template <>
KernelPtr compile(Context&, const SwitchableFinalize& op) {
  return make_kernel<SwitchableFinalize>([op](const auto& a, const StepState& state) {
    for (int c = 0; c < op.channels; ++c) finalize_switchable(op, a, state.update_running, c);
  });
}

template <>
KernelPtr compile(Context& context, const SwitchableForward& op) {
  return with_storage(op.storage, [&]<class S>() { return make_forward<S>(context, op); });
}

template <>
KernelPtr compile(Context& context, const SwitchableGradientSums& op) {
  return with_storage(op.storage, [&]<class S>() -> KernelPtr {
    return make_kernel<SwitchableGradientSums, S>(GradientSumsBody<S>(op, context.loops.of<S>()));
  });
}

template <>
KernelPtr compile(Context& context, const SwitchableInputGradient& op) {
  return with_storage(op.storage, [&]<class S>() { return make_input_gradient<S>(context, op); });
}

}  // namespace syncnorm::cpu
