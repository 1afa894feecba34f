// What differs between the deviations that BatchNorm can divide by (root mean square, mean
// absolute, largest absolute): their statistics and the input gradient.
//
// With inv_std k = 1/√(s² + eps) every deviation has
//   dx = k·(γ·g − mean(γ·g)) − k²·mean(γ·g·x̂)·n·s·∂s/∂x,
// where n·s·∂s/∂x is x − mean for l2, s·factor·(q − mean(q)) for l1 with q = sign(x − mean), and
// s·n·(q − Σq/n)/m for linf with q that sign at the m largest deviations and 0 elsewhere.
#include <vector>

#include "kernels/cpu/context.h"
#include "kernels/cpu/norm_lines.h"

namespace syncnorm::cpu {
namespace {

std::size_t rows_of(int samples, int pixels) {
  return static_cast<std::size_t>(samples) * static_cast<std::size_t>(pixels);
}

Direction direction_of(Deviation kind) {
  switch (kind) {
    case Deviation::l2:
      break;
    case Deviation::l1:
      return Direction::sign;
    case Deviation::linf:
      return Direction::sign_of_largest;
  }
  return Direction::value;
}

/// The input gradient; its vectors are reused from call to call.
template <class S>
class BatchInputGradientKernel final : public Kernel {
 public:
  BatchInputGradientKernel(const BatchInputGradient& op, const StorageLoops<S>& loops)
      : op_(op),
        loops_(loops),
        affine_(op.channels),
        lines_(op.channels),
        largest_(static_cast<std::size_t>(op.channels)) {}

  void run(std::span<void* const> args, const StepState&) override {
    const NormVectors vectors{arg<const float>(args, 2), arg<const float>(args, 3),
                              arg<const float>(args, 4), arg<const float>(args, 5),
                              arg<const float>(args, 8)};
    const float* rest = vectors.mean + op_.channels;
    affine_.set(vectors);
    if (op_.frozen)
      set_frozen_lines();
    else
      set_lines(vectors, {arg<const double>(args, 6), arg<const double>(args, 7)[0],
                          arg<const double>(args, 9), arg<const double>(args, 10)});
    const std::size_t rows = rows_of(op_.samples, op_.pixels);
    loops_.input_gradient({arg<const S>(args, 0), arg<const S>(args, 1), arg<S>(args, 11),
                           vectors.mean, affine_.scale.data(), affine_.shift.data(),
                           lines_.a.data(), lines_.b.data(), lines_.d.data(), rows, op_.channels,
                           op_.relu, direction_of(op_.deviation), rest, largest_.data(),
                           past_caches(rows * largest_.size(), op_.storage)});
  }

 private:
  void set_frozen_lines() {
    for (std::size_t c = 0; c < largest_.size(); ++c) lines_.set(c, {affine_.scale[c], 0.0f, 0.0f});
  }

  void set_lines(const NormVectors& v, const GroupTotals& totals) {
    for (std::size_t c = 0; c < largest_.size(); ++c)
      lines_.set(c, batch_gradient_line(op_, v, totals, c, largest_[c]));
  }

  BatchInputGradient op_;
  const StorageLoops<S>& loops_;
  Affine affine_;
  Lines lines_;
  std::vector<float> largest_;
};

template <class S>
KernelPtr make_deviation(Context& context, const BatchDeviation& op) {
  const auto& loops = context.loops.of<S>();
  std::vector<float> largest(static_cast<std::size_t>(op.channels));
  return make_kernel([op, &loops, largest](std::span<void* const> args, const StepState&) mutable {
    const bool maxima = op.part == DeviationPart::maxima;
    if (maxima)
      for (std::size_t c = 0; c < largest.size(); ++c)
        largest[c] = static_cast<float>(arg<const double>(args, 2)[c]);
    auto* totals = arg<double>(args, 3);
    const auto* mean = arg<const float>(args, 1);
    const bool pair = op.part != DeviationPart::largest;
    const DeviationArgs<S> loop{arg<const S>(args, 0),
                                mean,
                                mean + op.channels,
                                largest.data(),
                                totals,
                                pair ? totals + op.channels : nullptr,
                                rows_of(op.samples, op.pixels),
                                op.channels};
    (maxima ? loops.count_largest
            : (pair ? loops.absolute_deviation : loops.largest_deviation))(loop);
  });
}

}  // namespace

KernelPtr compile(Context& context, const BatchDeviation& op) {
  return with_storage(op.storage, [&]<class S>() { return make_deviation<S>(context, op); });
}

KernelPtr compile(Context&, const BatchFinalizeDeviation& op) {
  return make_kernel([op](std::span<void* const> args, const StepState& state) {
    for (int c = 0; c < op.channels; ++c)
      finalize_deviation_channel(op, arg<const double>(args, 0), arg<const double>(args, 1),
                                 arg<float>(args, 2), arg<float>(args, 3), state.update_running, c);
  });
}

KernelPtr compile(Context& context, const BatchInputGradient& op) {
  return with_storage(op.storage, [&]<class S>() -> KernelPtr {
    return std::make_unique<BatchInputGradientKernel<S>>(op, context.loops.of<S>());
  });
}

}  // namespace syncnorm::cpu
