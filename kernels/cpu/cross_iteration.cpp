// Cross-iteration batch norm: the sums of a layer's input patches, and what stands between batch
// norm's passes.
#include "kernels/cross_iteration_channel.h"

#include <algorithm>
#include <vector>

#include "kernels/cpu/context.h"
#include "kernels/cpu/lane_sum.h"

namespace syncnorm::cpu {
namespace {

/// Adds up the input values under every weight of a filter: first those of a row of the image that
/// a column of the filter meets, then the rows that each of its rows meets.
template <class S>
class PatchSums {
 public:
  explicit PatchSums(const ConvShape& shape)
      : shape_(shape),
        channels_(static_cast<std::size_t>(shape.channels)),
        row_(static_cast<std::size_t>(shape.kernel) * channels_),
        sums_(static_cast<std::size_t>(shape.kernel) * row_.size()) {}

  /// sums [channels, kernel, kernel] = Σ over the patches of x [samples, height, width, channels].
  void run(const S* x, int samples, double* sums) {
    std::fill(sums_.begin(), sums_.end(), 0.0);
    const std::size_t width = static_cast<std::size_t>(shape_.width) * channels_;
    for (int n = 0; n < samples; ++n)
      for (int y = 0; y < shape_.height; ++y, x += width) add_row(x, y);
    const std::size_t window = sums_.size() / channels_;
    for (std::size_t c = 0; c < channels_; ++c)
      for (std::size_t w = 0; w < window; ++w) sums[c * window + w] = sums_[w * channels_ + c];
  }

 private:
  void add_row(const S* x, int y) {
    std::fill(row_.begin(), row_.end(), 0.0);
    for (int column = 0; column < shape_.kernel; ++column)
      for (int out = 0; out < shape_.out_width(); ++out) {
        const int at = out * shape_.stride + column * shape_.dilation - shape_.padding;
        if (at < 0 || at >= shape_.width) continue;
        add(x + static_cast<std::size_t>(at) * channels_,
            row_.data() + static_cast<std::size_t>(column) * channels_, channels_);
      }
    for (int row = 0; row < shape_.kernel; ++row) {
      const int from = y + shape_.padding - row * shape_.dilation;  // out · stride
      if (from < 0 || from % shape_.stride != 0 || from / shape_.stride >= shape_.out_height())
        continue;
      add(row_.data(), sums_.data() + static_cast<std::size_t>(row) * row_.size(), row_.size());
    }
  }

  static double wide(double value) { return value; }
  static double wide(S value) { return static_cast<double>(read(value)); }
  template <class Value>
  static void add(const Value* from, double* to, std::size_t count) {
    for (std::size_t i = 0; i < count; ++i) to[i] += wide(from[i]);
  }

  ConvShape shape_;
  std::size_t channels_;
  std::vector<double> row_, sums_;  // [kernel, channels] and [kernel, kernel, channels]
};

template <class S>
KernelPtr compile_sums(const CrossIterationSums& op) {
  return make_kernel<CrossIterationSums, S>(
      [op, patches = PatchSums<S>(op.shape)](const auto& a, const StepState&) mutable {
        patches.run(a.x, op.samples, a.sums);
        std::copy_n(a.products, op.shape.weights(), a.sums + op.patch_values());
      });
}

/// The inputs of a filter.
struct FilterInputs {
  const Loops& loops;
  std::size_t count;

  double dot(const float* a, const float* b) const { return loops.dot(a, b, count); }
  template <class Value>
  double sum(const Value& value) const {
    return lane_sum(count, value);
  }
  template <class Body>
  void each(const Body& body) const {
    for (std::size_t i = 0; i < count; ++i) body(i);
  }
};

}  // namespace

template <>
KernelPtr compile(Context&, const CrossIterationSums& op) {
  return op.storage == Storage::f32 ? compile_sums<float>(op) : compile_sums<BFloat16>(op);
}

template <>
KernelPtr compile(Context& context, const CrossIterationFinalize& op) {
  const FilterInputs filter{context.loops, static_cast<std::size_t>(op.inputs)};
  return make_kernel<CrossIterationFinalize>([op, filter](const auto& a, const StepState& state) {
    for (int c = 0; c < op.channels; ++c)
      cross_iteration_finalize_channel(op, a, state, c, true, filter);
  });
}

template <>
KernelPtr compile(Context& context, const CrossIterationKeep& op) {
  const FilterInputs filter{context.loops, static_cast<std::size_t>(op.inputs)};
  return make_kernel<CrossIterationKeep>([op, filter](const auto& a, const StepState& state) {
    for (int c = 0; c < op.channels; ++c)
      cross_iteration_keep_channel(op, a, state, c, true, filter);
  });
}

}  // namespace syncnorm::cpu
