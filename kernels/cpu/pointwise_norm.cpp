// Pointwise norms (DyT, Derf) on the CPU. The backward pass works in blocks of rows: a loop
// computes dx and tables of a block in f32, whose columns the loops of the other norms add up.
#include <algorithm>
#include <vector>

#include "kernels/cpu/context.h"
#include "kernels/cpu/norm_lines.h"

namespace syncnorm::cpu {
namespace {

template <class Operands>
float shift_of(const Operands& a) {
  return a.shift != nullptr ? a.shift[0] : 0.0f;
}

template <class S>
KernelPtr make_forward(Context& context, const PointwiseNormForward& op) {
  const auto& loops = context.loops.of<S>();
  return make_kernel<PointwiseNormForward, S>(
      [op, &loops, gains = Gains(op.channels)](const auto& a, const StepState&) {
        loops.pointwise_norm({a.x, a.residual, a.y, a.alpha[0], shift_of(a), gains.gamma(a.gamma),
                              gains.beta(a.beta), rows_of(op), op.channels, op.function, op.relu});
      });
}

template <class S>
class BackwardBody {
 public:
  BackwardBody(const PointwiseNormBackward& op, const Loops& loops)
      : op_(op),
        loops_(loops),
        gains_(op.channels),
        channels_(static_cast<std::size_t>(op.channels)),
        block_rows_(std::clamp<std::size_t>(4096 / channels_, 32, 256)),
        zeros_(channels_) {
    for (auto* table : {&g_, &f_, &d_, &x_}) table->resize(block_rows_ * channels_);
    for (auto* sums : {&block_first_, &block_second_, &sum_g_, &sum_gf_, &sum_d_, &sum_dx_})
      sums->resize(channels_);
  }

  void operator()(const PointersOf<PointwiseNormBackward, S>& a, const StepState&) {
    for (auto* sums : {&sum_g_, &sum_gf_, &sum_d_, &sum_dx_})
      std::fill(sums->begin(), sums->end(), 0.0);
    const std::size_t rows = rows_of(op_);
    for (std::size_t begin = 0; begin < rows; begin += block_rows_) {
      const std::size_t count = std::min(rows - begin, block_rows_);
      fill_tables(a, begin, count);
      add_columns(g_, f_, count, sum_g_, sum_gf_);
      add_columns(d_, x_, count, sum_d_, sum_dx_);
    }
    write_parameter_gradients(a);
  }

 private:
  using Table = std::vector<float>;
  using Sums = std::vector<double>;

  void fill_tables(const PointersOf<PointwiseNormBackward, S>& a, std::size_t begin,
                   std::size_t count) {
    const auto block = [at = begin * channels_](auto* p) {
      return p != nullptr ? p + at : nullptr;
    };
    loops_.of<S>().pointwise_norm_gradient(
        {block(a.dy), block(a.dy2), block(a.x), block(a.y), block(a.dx), block(a.g), a.alpha[0],
         shift_of(a), gains_.gamma(a.gamma), gains_.beta(a.beta), g_.data(), f_.data(), d_.data(),
         x_.data(), count, op_.channels, op_.function, op_.relu});
  }

  /// first += Σ a and second += Σ a·b, per column.
  void add_columns(const Table& a, const Table& b, std::size_t rows, Sums& first, Sums& second) {
    GradientSumsArgs<float> args{};
    args.dy = a.data();
    args.x = b.data();
    args.mean = zeros_.data();
    args.sum_g = block_first_.data();
    args.sum_gx = block_second_.data();
    args.rows = rows;
    args.channels = op_.channels;
    loops_.f32.gradient_sums(args);
    for (std::size_t c = 0; c < first.size(); ++c) {
      first[c] += block_first_[c];
      second[c] += block_second_[c];
    }
  }

  void write_parameter_gradients(const PointersOf<PointwiseNormBackward, S>& a) const {
    double dalpha = 0.0, dshift = 0.0;
    const float* gamma = gains_.gamma(a.gamma);
    for (std::size_t c = 0; c < channels_; ++c) {
      dalpha += gamma[c] * sum_dx_[c];
      dshift += gamma[c] * sum_d_[c];
      if (a.dgamma != nullptr) a.dgamma[c] = static_cast<float>(sum_gf_[c]);
      if (a.dbeta != nullptr) a.dbeta[c] = static_cast<float>(sum_g_[c]);
    }
    a.dalpha[0] = static_cast<float>(dalpha);
    if (a.dshift != nullptr) a.dshift[0] = static_cast<float>(dshift);
  }

  PointwiseNormBackward op_;
  const Loops& loops_;
  Gains gains_;
  std::size_t channels_, block_rows_;
  Table zeros_, g_, f_, d_, x_;
  Sums block_first_, block_second_, sum_g_, sum_gf_, sum_d_, sum_dx_;
};

}  // namespace

template <>
KernelPtr compile(Context& context, const PointwiseNormForward& op) {
  return with_storage(op.storage, [&]<class S>() { return make_forward<S>(context, op); });
}

template <>
KernelPtr compile(Context& context, const PointwiseNormBackward& op) {
  return with_storage(op.storage, [&]<class S>() -> KernelPtr {
    return make_kernel<PointwiseNormBackward, S>(BackwardBody<S>(op, context.loops));
  });
}

}  // namespace syncnorm::cpu
