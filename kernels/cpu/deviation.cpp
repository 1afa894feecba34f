// The deviations by which BatchNorm can divide (root mean square, mean absolute, largest absolute):
// the statistics of the last two, and the input gradient of all three.
//
// With inv_std k = 1/√(s² + eps) every deviation has
//   dx = k·(γ·g − mean(γ·g)) − k²·mean(γ·g·x̂)·n·s·∂s/∂x,
// where n·s·∂s/∂x is x − mean for l2; s·factor·(q − mean(q)) with q = sign(x − mean) for l1; and
// s·n·(q − Σq/n)/m for linf, where q is that sign at the m largest deviations and 0 elsewhere.
#include <vector>

#include "kernels/cpu/context.h"
#include "kernels/cpu/norm_lines.h"

namespace syncnorm::cpu {
namespace {

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

/// Computes the input gradient; its vectors are reused from call to call.
template <class S>
class BatchInputGradientBody {
 public:
  BatchInputGradientBody(const BatchInputGradient& op, const StorageLoops<S>& loops)
      : op_(op),
        loops_(loops),
        affine_(op.channels),
        lines_(op.channels),
        largest_(static_cast<std::size_t>(op.channels)) {}

  void operator()(const PointersOf<BatchInputGradient, S>& a, const StepState&) {
    const NormVectors vectors = norm_vectors(a);
    const float* rest = vectors.mean + op_.channels;
    affine_.set(vectors);
    if (op_.frozen)
      set_frozen_lines();
    else
      set_lines(vectors, {a.gradient_sums, a.sums[0], a.deviation, a.maxima});
    const std::size_t rows = rows_of(op_);
    loops_.input_gradient({a.g, a.x, a.dx, vectors.mean, affine_.scale.data(), affine_.shift.data(),
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
  return make_kernel<BatchDeviation, S>(
      [op, &loops, largest](const auto& a, const StepState&) mutable {
        const bool maxima = op.part == DeviationPart::maxima;
        if (maxima)
          for (std::size_t c = 0; c < largest.size(); ++c)
            largest[c] = static_cast<float>(a.largest[c]);
        double* totals = a.totals;
        const bool pair = op.part != DeviationPart::largest;
        const DeviationArgs<S> loop{a.x,
                                    a.mean,
                                    a.mean + op.channels,
                                    largest.data(),
                                    totals,
                                    pair ? totals + op.channels : nullptr,
                                    rows_of(op),
                                    op.channels};
        (maxima ? loops.count_largest
                : (pair ? loops.absolute_deviation : loops.largest_deviation))(loop);
      });
}

}  // namespace

template <>
KernelPtr compile(Context& context, const BatchDeviation& op) {
  return with_storage(op.storage, [&]<class S>() { return make_deviation<S>(context, op); });
}

template <>
KernelPtr compile(Context&, const BatchFinalizeDeviation& op) {
  return make_kernel<BatchFinalizeDeviation>([op](const auto& a, const StepState& state) {
    for (int c = 0; c < op.channels; ++c)
      finalize_deviation_channel(op, a, state.update_running, c);
  });
}

template <>
KernelPtr compile(Context& context, const BatchInputGradient& op) {
  return with_storage(op.storage, [&]<class S>() -> KernelPtr {
    return make_kernel<BatchInputGradient, S>(BatchInputGradientBody<S>(op, context.loops.of<S>()));
  });
}

}  // namespace syncnorm::cpu
