// Batch and group normalization on the CPU, as the operations in kernels/ops/ divide them; the
// input gradient of batch norm is in deviation.cpp. loops.h has the passes over memory; this file
// has the arithmetic on per-channel vectors between them.
#include <cassert>
#include <vector>

#include "kernels/cpu/context.h"
#include "kernels/cpu/group_statistics.h"
#include "kernels/cpu/norm_lines.h"
#include "kernels/norm_math.h"

namespace syncnorm::cpu {
namespace {

template <class S>
KernelPtr make_moments(Context& context, const BatchMoments& op) {
  const auto& loops = context.loops.of<S>();
  std::vector<double> mean(static_cast<std::size_t>(op.channels)), m2(mean.size());
  return make_kernel<BatchMoments, S>(
      [op, &loops, mean, m2](const auto& a, const StepState&) mutable {
        const std::size_t rows = rows_of(op);
        loops.moments(a.x, rows, op.channels, mean.data(), m2.data());
        auto* sums = a.sums;
        const std::size_t channels = mean.size();
        const double n = static_cast<double>(rows);
        sums[0] = n;
        for (std::size_t c = 0; c < channels; ++c) {
          sums[1 + c] = n * mean[c];
          sums[1 + channels + c] = m2[c] + n * mean[c] * mean[c];
        }
      });
}

}  // namespace

template <>
KernelPtr compile(Context& context, const BatchMoments& op) {
  return with_storage(op.storage, [&]<class S>() { return make_moments<S>(context, op); });
}

template <>
KernelPtr compile(Context&, const BatchFinalize& op) {
  return make_kernel<BatchFinalize>([op](const auto& a, const StepState& state) {
    for (int c = 0; c < op.channels; ++c)
      finalize_channel(op, a, state.update_running, static_cast<double>(state.step), c);
  });
}

template <>
KernelPtr compile(Context&, const Accumulate& op) {
  return make_kernel<Accumulate>([op](const auto& a, const StepState&) {
    for (int i = 0; i < op.count; ++i) a.totals[i] += a.sums[i];
  });
}

template <>
KernelPtr compile(Context&, const BatchFromRunning& op) {
  return make_kernel<BatchFromRunning>([op](const auto& a, const StepState&) {
    for (int c = 0; c < op.channels; ++c) {
      a.mean[c] = a.running_mean[c];
      a.mean[op.channels + c] = 0.0f;
      a.inv_std[c] = static_cast<float>(inverse_std(a.running_var[c], op.eps));
    }
  });
}

template <>
KernelPtr compile(Context&, const BatchMix& op) {
  return make_kernel<BatchMix>([op](const auto& a, const StepState& state) {
    for (int c = 0; c < op.channels; ++c) mix_channel(op, a, state.sample_weight, c);
  });
}

namespace {

template <class S>
KernelPtr make_normalize(Context& context, const BatchNormalize& op) {
  const auto& loops = context.loops.of<S>();
  return make_kernel<BatchNormalize, S>(
      [op, &loops, affine = Affine(op.channels)](const auto& a, const StepState&) mutable {
        affine.set(norm_vectors(a));
        loops.normalize({a.x, a.residual, a.y, a.mean, affine.scale.data(), affine.shift.data(),
                         rows_of(op), op.channels, op.relu, is_large(op)});
      });
}

template <class S>
KernelPtr make_gradient_sums(Context& context, const BatchGradientSums& op) {
  const auto& loops = context.loops.of<S>();
  return make_kernel<BatchGradientSums, S>(
      [op, &loops, affine = Affine(op.channels)](const auto& a, const StepState&) mutable {
        affine.set(norm_vectors(a));
        double* sums = a.sums;
        loops.gradient_sums({a.dy, a.dy2, a.x, a.y, a.g, a.mean, affine.scale.data(),
                             affine.shift.data(), sums, sums + op.channels, rows_of(op),
                             op.channels, op.relu, is_large(op)});
        for (int c = 0; c < op.channels; ++c) {
          double& gx = sums[op.channels + c];
          gx = gradient_sum_of_normalized(sums[c], gx, a.mean[op.channels + c], a.inv_std[c]);
          if (a.dgamma != nullptr)
            a.dgamma[c] = gamma_gradient(sums[c], gx, a.correction, static_cast<std::size_t>(c),
                                         static_cast<std::size_t>(op.channels));
          if (a.dbeta != nullptr) a.dbeta[c] = static_cast<float>(sums[c]);
        }
      });
}

}  // namespace

template <>
KernelPtr compile(Context& context, const BatchNormalize& op) {
  return with_storage(op.storage, [&]<class S>() { return make_normalize<S>(context, op); });
}

template <>
KernelPtr compile(Context& context, const BatchGradientSums& op) {
  return with_storage(op.storage, [&]<class S>() { return make_gradient_sums<S>(context, op); });
}

namespace {

template <class S>
KernelPtr make_group_norm(Context& context, const GroupNormForward& op) {
  const auto& loops = context.loops.of<S>();
  std::vector<double> mean(static_cast<std::size_t>(op.channels)), m2(mean.size());
  return make_kernel<GroupNormForward, S>([op, &loops, mean, m2, affine = Affine(op.channels)](
                                              const auto& a, const StepState&) mutable {
    const std::size_t rows = static_cast<std::size_t>(op.pixels);
    const std::size_t stride = rows * static_cast<std::size_t>(op.channels);
    for (std::size_t n = 0; n < static_cast<std::size_t>(op.samples); ++n) {
      const S* x = a.x + n * stride;
      float* sample_mean = a.mean + n * 2 * mean.size();
      float* inv_std = a.inv_std + n * mean.size();
      loops.moments(x, rows, op.channels, mean.data(), m2.data());
      group_statistics(op.pixels, op.channels, op.groups, op.centered, op.eps, mean.data(),
                       m2.data(), sample_mean, inv_std);
      affine.set({sample_mean, inv_std, a.gamma, a.beta});
      loops.normalize({x, a.residual != nullptr ? a.residual + n * stride : nullptr,
                       a.y + n * stride, sample_mean, affine.scale.data(), affine.shift.data(),
                       rows, op.channels, op.relu, is_large(op)});
    }
  });
}

/// Computes group normalization's backward pass; its vectors are reused from sample to sample.
template <class S>
class GroupNormBackwardBody {
 public:
  GroupNormBackwardBody(const GroupNormBackward& op, const StorageLoops<S>& loops)
      : op_(op),
        loops_(loops),
        affine_(op.channels),
        lines_(op.channels),
        sum_g_(static_cast<std::size_t>(op.channels)),
        sum_gx_(sum_g_.size()),
        dgamma_(sum_g_.size()),
        dbeta_(sum_g_.size()) {}

  void operator()(const PointersOf<GroupNormBackward, S>& a, const StepState&) {
    for (std::size_t c = 0; c < dgamma_.size(); ++c) dgamma_[c] = dbeta_[c] = 0.0;
    for (std::size_t n = 0; n < static_cast<std::size_t>(op_.samples); ++n) one_sample(a, n);
    for (std::size_t c = 0; c < dgamma_.size(); ++c) {
      if (a.dgamma != nullptr) a.dgamma[c] = static_cast<float>(dgamma_[c]);
      if (a.dbeta != nullptr) a.dbeta[c] = static_cast<float>(dbeta_[c]);
    }
  }

 private:
  void one_sample(const PointersOf<GroupNormBackward, S>& a, std::size_t n) {
    const std::size_t rows = static_cast<std::size_t>(op_.pixels), channels = sum_g_.size();
    const std::size_t at = n * rows * channels;
    const auto offset = [at](auto* p) { return p != nullptr ? p + at : nullptr; };
    const S* x = a.x + at;
    const float* mean = a.mean + n * 2 * channels;
    const float* inv_std = a.inv_std + n * channels;
    const auto* gamma = a.gamma;
    affine_.set({mean, inv_std, gamma, a.beta});
    const S* dy = a.dy + at;
    S* g = offset(a.g);
    loops_.gradient_sums({dy, offset(a.dy2), x, offset(a.y), g, mean, affine_.scale.data(),
                          affine_.shift.data(), sum_g_.data(), sum_gx_.data(), rows, op_.channels,
                          op_.relu, is_large(op_)});
    for (std::size_t c = 0; c < channels; ++c) sum_gx_[c] -= mean[channels + c] * sum_g_[c];
    set_lines(mean + channels, inv_std, gamma);
    loops_.input_gradient({g != nullptr ? g : dy, x, a.dx + at, mean, affine_.scale.data(),
                           affine_.shift.data(), lines_.a.data(), lines_.b.data(), lines_.d.data(),
                           rows, op_.channels, op_.relu && g == nullptr, Direction::value, nullptr,
                           nullptr, is_large(op_)});
  }

  void set_lines(const float* mean_rest, const float* inv_std, const float* gamma) {
    const std::size_t channels = sum_g_.size();
    const std::size_t width = channels / static_cast<std::size_t>(op_.groups);
    const double count = static_cast<double>(op_.pixels) * static_cast<double>(width);
    for (std::size_t first = 0; first < channels; first += width) {
      double mean_g = 0.0, mean_gx = 0.0;
      for (std::size_t c = first; c < first + width; ++c) {
        const double gx = sum_gx_[c] * inv_std[c];
        const double weight = gamma != nullptr ? static_cast<double>(gamma[c]) : 1.0;
        dbeta_[c] += sum_g_[c];
        dgamma_[c] += gx;
        // Without `centered` no mean is subtracted, so it has no gradient.
        if (op_.centered) mean_g += weight * sum_g_[c];
        mean_gx += weight * gx;
      }
      for (std::size_t c = first; c < first + width; ++c) {
        const double weight = gamma != nullptr ? static_cast<double>(gamma[c]) : 1.0;
        lines_.set(c, gradient_line(
                          input_gradient_line(weight, inv_std[c], mean_g / count, mean_gx / count),
                          mean_rest[c]));
      }
    }
  }

  GroupNormBackward op_;
  const StorageLoops<S>& loops_;
  Affine affine_;
  Lines lines_;
  std::vector<double> sum_g_, sum_gx_, dgamma_, dbeta_;
};

}  // namespace

template <>
KernelPtr compile(Context& context, const GroupNormForward& op) {
  assert(op.channels % op.groups == 0);
  return with_storage(op.storage, [&]<class S>() { return make_group_norm<S>(context, op); });
}

template <>
KernelPtr compile(Context& context, const GroupNormBackward& op) {
  return with_storage(op.storage, [&]<class S>() -> KernelPtr {
    return make_kernel<GroupNormBackward, S>(GroupNormBackwardBody<S>(op, context.loops.of<S>()));
  });
}

}  // namespace syncnorm::cpu
