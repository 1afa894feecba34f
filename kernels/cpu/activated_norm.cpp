// FRN and EvoNorm-S0 on the CPU, one sample after another: the statistics of group norm, and passes
// of their own over the values.
#include <cassert>
#include <cmath>
#include <vector>

#include "kernels/cpu/context.h"
#include "kernels/cpu/group_statistics.h"
#include "kernels/cpu/norm_lines.h"

namespace syncnorm::cpu {
namespace {

std::size_t values_of(const ActivatedNormShape& s) {
  return static_cast<std::size_t>(s.pixels) * static_cast<std::size_t>(s.channels);
}

/// scale = γ·k for every channel of a sample.
void set_scale(std::vector<float>& scale, const float* gamma, const float* inv_std) {
  for (std::size_t c = 0; c < scale.size(); ++c)
    scale[c] = static_cast<float>(static_cast<double>(gamma[c]) * inv_std[c]);
}

template <class S>
KernelPtr make_forward(Context& context, const ActivatedNormForward& op) {
  const auto& loops = context.loops.of<S>();
  const auto channels = static_cast<std::size_t>(op.shape.channels);
  return make_kernel<ActivatedNormForward, S>(
      [op, &loops, gains = Gains(op.shape.channels), mean = std::vector<double>(channels),
       m2 = std::vector<double>(channels),
       scale = std::vector<float>(channels)](const auto& a, const StepState&) mutable {
        const ActivatedNormShape& s = op.shape;
        const std::size_t stride = values_of(s), rows = static_cast<std::size_t>(s.pixels);
        const double eps = a.epsilon != nullptr ? std::abs(a.epsilon[0]) : s.eps;
        for (std::size_t n = 0; n < static_cast<std::size_t>(op.samples); ++n) {
          const S* x = a.x + n * stride;
          float* inv_std = a.inv_std + n * scale.size();
          loops.moments(x, rows, s.channels, mean.data(), m2.data());
          group_statistics(s.pixels, s.channels, s.groups, s.centered(), eps, mean.data(),
                           m2.data(), a.mean + n * 2 * scale.size(), inv_std);
          set_scale(scale, gains.gamma(a.gamma), inv_std);
          loops.activated_norm({x, a.residual != nullptr ? a.residual + n * stride : nullptr,
                                a.y + n * stride, scale.data(), gains.beta(a.beta), a.slope, rows,
                                s.channels, s.activation, s.relu});
        }
      });
}

/// Its vectors are reused from sample to sample.
template <class S>
class BackwardBody {
 public:
  BackwardBody(const ActivatedNormBackward& op, const StorageLoops<S>& loops)
      : op_(op),
        loops_(loops),
        gains_(op.shape.channels),
        lines_(op.shape.channels),
        scale_(static_cast<std::size_t>(op.shape.channels)),
        scratch_(3 * scale_.size()),
        sums_(3 * scale_.size()),
        dgamma_(scale_.size()),
        dbeta_(scale_.size()),
        dslope_(scale_.size()) {}

  void operator()(const PointersOf<ActivatedNormBackward, S>& a, const StepState&) {
    for (auto* sums : {&dgamma_, &dbeta_, &dslope_}) std::fill(sums->begin(), sums->end(), 0.0);
    depsilon_ = 0.0;
    for (std::size_t n = 0; n < static_cast<std::size_t>(op_.samples); ++n) one_sample(a, n);
    for (std::size_t c = 0; c < scale_.size(); ++c) {
      if (a.dgamma != nullptr) a.dgamma[c] = static_cast<float>(dgamma_[c]);
      if (a.dbeta != nullptr) a.dbeta[c] = static_cast<float>(dbeta_[c]);
      if (a.dslope != nullptr) a.dslope[c] = static_cast<float>(dslope_[c]);
    }
    if (a.depsilon != nullptr)
      a.depsilon[0] = static_cast<float>(a.epsilon[0] < 0.0f ? -depsilon_ : depsilon_);
  }

 private:
  void one_sample(const PointersOf<ActivatedNormBackward, S>& a, std::size_t n) {
    const ActivatedNormShape& s = op_.shape;
    const std::size_t at = n * values_of(s), channels = scale_.size();
    const auto offset = [at](auto* p) { return p != nullptr ? p + at : nullptr; };
    const float* mean = a.mean + n * 2 * channels;
    const float* inv_std = a.inv_std + n * channels;
    const float* gamma = gains_.gamma(a.gamma);
    set_scale(scale_, gamma, inv_std);
    std::fill(sums_.begin(), sums_.end(), 0.0);
    ActivatedNormGradientArgs<S> pass{
        a.dy + at,           offset(a.dy2), a.x + at,
        offset(a.y),         offset(a.g),   scale_.data(),
        gains_.beta(a.beta), a.slope,       static_cast<std::size_t>(s.pixels),
        s.channels,          s.activation,  s.relu};
    pass.sums = sums_.data();
    pass.scratch = scratch_.data();
    loops_.activated_norm_sums(pass);
    add_parameter_gradients(gamma, inv_std);
    set_lines(gamma, inv_std, mean + channels);
    if (a.g != nullptr) {
      pass.dy = pass.g;
      pass.dy2 = nullptr;
      pass.relu = false;
    }
    pass.dx = a.dx + at;
    pass.mean = mean;
    pass.a = lines_.a.data();
    pass.b = lines_.b.data();
    pass.d = lines_.d.data();
    loops_.activated_norm_gradient(pass);
  }

  void add_parameter_gradients(const float* gamma, const float* inv_std) {
    const std::size_t channels = scale_.size();
    const bool swish = op_.shape.activation == NormActivation::swish;
    for (std::size_t c = 0; c < channels; ++c) {
      dbeta_[c] += sums_[c];
      dgamma_[c] += sums_[channels + c] * inv_std[c];
      const double weight = swish ? static_cast<double>(gamma[c]) * inv_std[c] : 1.0;
      dslope_[c] += weight * sums_[2 * channels + c];
    }
  }

  void set_lines(const float* gamma, const float* inv_std, const float* mean_rest) {
    const std::size_t channels = scale_.size();
    const std::size_t width = channels / static_cast<std::size_t>(op_.shape.groups);
    const double count = static_cast<double>(op_.shape.pixels) * static_cast<double>(width);
    for (std::size_t first = 0; first < channels; first += width) {
      double sum = 0.0;  // ∂L/∂k
      for (std::size_t c = first; c < first + width; ++c) sum += gamma[c] * sums_[channels + c];
      const double k = inv_std[first];
      depsilon_ -= 0.5 * k * k * k * sum;
      for (std::size_t c = first; c < first + width; ++c)
        lines_.set(
            c, gradient_line(input_gradient_line(gamma[c], k, 0.0, k * sum / count), mean_rest[c]));
    }
  }

  ActivatedNormBackward op_;
  const StorageLoops<S>& loops_;
  Gains gains_;
  Lines lines_;
  std::vector<float> scale_, scratch_;
  std::vector<double> sums_, dgamma_, dbeta_, dslope_;
  double depsilon_ = 0.0;
};

}  // namespace

template <>
KernelPtr compile(Context& context, const ActivatedNormForward& op) {
  assert(op.shape.channels % op.shape.groups == 0);
  return with_storage(op.storage, [&]<class S>() { return make_forward<S>(context, op); });
}

template <>
KernelPtr compile(Context& context, const ActivatedNormBackward& op) {
  return with_storage(op.storage, [&]<class S>() -> KernelPtr {
    return make_kernel<ActivatedNormBackward, S>(BackwardBody<S>(op, context.loops.of<S>()));
  });
}

}  // namespace syncnorm::cpu
