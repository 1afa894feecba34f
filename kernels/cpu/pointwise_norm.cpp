// Pointwise norms (DyT, Derf) on the CPU. The function is computed value by value with the math
// library, so that a result does not depend on its position in memory. The loops of the other norms
// add up the columns.
#include <algorithm>
#include <vector>

#include "kernels/cpu/context.h"
#include "kernels/pointwise_math.h"

namespace syncnorm::cpu {
namespace {

template <class NormOp>
std::size_t rows_of(const NormOp& op) {
  return static_cast<std::size_t>(op.samples) * static_cast<std::size_t>(op.pixels);
}

/// The constants of all channels.
class Lines {
 public:
  explicit Lines(int channels) : lines_(static_cast<std::size_t>(channels)) {}
  template <class Operands>
  void set(const Operands& a) {
    for (std::size_t c = 0; c < lines_.size(); ++c) lines_[c] = pointwise_norm_line(a, c);
  }
  const PointwiseNormLine& operator[](std::size_t c) const { return lines_[c]; }
  std::size_t size() const { return lines_.size(); }

 private:
  std::vector<PointwiseNormLine> lines_;
};

template <class S>
KernelPtr make_forward(const PointwiseNormForward& op) {
  return make_kernel<PointwiseNormForward, S>(
      [op, lines = Lines(op.channels)](const auto& a, const StepState&) mutable {
        lines.set(a);
        std::size_t i = 0;
        for (std::size_t row = 0; row < rows_of(op); ++row)
          for (std::size_t c = 0; c < lines.size(); ++c, ++i) {
            float y = lines[c].outer(pointwise_value(op.function, lines[c].inner(read(a.x[i]))));
            if (a.residual != nullptr) y += read(a.residual[i]);
            if (op.relu) y = y < 0.0f ? 0.0f : y;  // a nan stays a nan
            write(a.y[i], y);
          }
      });
}

/// Works in blocks of rows: fills f32 tables of a block, then adds their columns up.
template <class S>
class BackwardBody {
 public:
  BackwardBody(const PointwiseNormBackward& op, const StorageLoops<float>& loops)
      : op_(op),
        loops_(loops),
        lines_(op.channels),
        block_rows_(std::clamp<std::size_t>(4096 / lines_.size(), 32, 256)),
        zeros_(lines_.size()) {
    for (auto* table : {&g_, &f_, &d_, &x_}) table->resize(block_rows_ * lines_.size());
    for (auto* sums : {&block_first_, &block_second_, &sum_g_, &sum_gf_, &sum_d_, &sum_dx_})
      sums->resize(lines_.size());
  }

  void operator()(const PointersOf<PointwiseNormBackward, S>& a, const StepState&) {
    lines_.set(a);
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

  /// The block's g, f(z), d = g·f'(z) and x; writes its dx, and g where that is kept.
  void fill_tables(const PointersOf<PointwiseNormBackward, S>& a, std::size_t begin,
                   std::size_t count) {
    const std::size_t channels = lines_.size();
    for (std::size_t row = 0, k = 0; row < count; ++row)
      for (std::size_t c = 0; c < channels; ++c, ++k) {
        const PointwiseNormLine& line = lines_[c];
        const std::size_t i = begin * channels + k;
        const float x = read(a.x[i]), z = line.inner(x), f = pointwise_value(op_.function, z);
        float g = read(a.dy[i]);
        if (a.dy2 != nullptr) g += read(a.dy2[i]);
        if (op_.relu && !((a.y != nullptr ? read(a.y[i]) : line.outer(f)) > 0.0f)) g = 0.0f;
        if (a.g != nullptr) {
          write(a.g[i], g);
          g = read(a.g[i]);
        }
        g_[k] = g;
        f_[k] = f;
        d_[k] = g * pointwise_slope(op_.function, z, f);
        x_[k] = x;
        write(a.dx[i], line.alpha * line.gamma * d_[k]);
      }
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
    loops_.gradient_sums(args);
    for (std::size_t c = 0; c < first.size(); ++c) {
      first[c] += block_first_[c];
      second[c] += block_second_[c];
    }
  }

  void write_parameter_gradients(const PointersOf<PointwiseNormBackward, S>& a) const {
    double dalpha = 0.0, dshift = 0.0;
    for (std::size_t c = 0; c < lines_.size(); ++c) {
      dalpha += lines_[c].gamma * sum_dx_[c];
      dshift += lines_[c].gamma * sum_d_[c];
      if (a.dgamma != nullptr) a.dgamma[c] = static_cast<float>(sum_gf_[c]);
      if (a.dbeta != nullptr) a.dbeta[c] = static_cast<float>(sum_g_[c]);
    }
    a.dalpha[0] = static_cast<float>(dalpha);
    if (a.dshift != nullptr) a.dshift[0] = static_cast<float>(dshift);
  }

  PointwiseNormBackward op_;
  const StorageLoops<float>& loops_;
  Lines lines_;
  std::size_t block_rows_;
  Table zeros_, g_, f_, d_, x_;
  Sums block_first_, block_second_, sum_g_, sum_gf_, sum_d_, sum_dx_;
};

}  // namespace

template <>
KernelPtr compile(Context&, const PointwiseNormForward& op) {
  return with_storage(op.storage, [&]<class S>() { return make_forward<S>(op); });
}

template <>
KernelPtr compile(Context& context, const PointwiseNormBackward& op) {
  return with_storage(op.storage, [&]<class S>() -> KernelPtr {
    return make_kernel<PointwiseNormBackward, S>(BackwardBody<S>(op, context.loops.f32));
  });
}

}  // namespace syncnorm::cpu
