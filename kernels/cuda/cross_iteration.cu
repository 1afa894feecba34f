// Cross-iteration batch norm on CUDA: the sums of a layer's input patches, and what stands between
// batch norm's passes, one block per channel. The order of every sum depends only on the shape.
#include "kernels/cross_iteration_channel.h"

#include "kernels/cuda/channels.h"
#include "kernels/cuda/flat.h"

namespace syncnorm::cuda {
namespace {

constexpr int kAcross = 32, kDown = kThreads / kAcross;

struct AddDown {
  __device__ static double combine(double a, double b) { return a + b; }
};

/// sums [groups, kernel, kernel, channels / groups] = Σ over the patches of x. A block sums 32
/// channels under one weight (blockIdx.y), kDown output pixels at a time.
template <class T>
__global__ void __launch_bounds__(kThreads)
    patch_sums(ConvShape shape, int samples, const T* x, double* sums) {
  const int c = static_cast<int>(blockIdx.x) * kAcross + static_cast<int>(threadIdx.x);
  const int row = static_cast<int>(blockIdx.y) / shape.kernel,
            column = static_cast<int>(blockIdx.y) % shape.kernel;
  const int width = shape.out_width(), pixels = shape.out_height() * width;
  double sum[1] = {};
  if (c < shape.channels) {
    for (int i = static_cast<int>(threadIdx.y); i < samples * pixels; i += kDown) {
      const int n = i / pixels,
                y = i % pixels / width * shape.stride + row * shape.dilation - shape.padding,
                at = i % width * shape.stride + column * shape.dilation - shape.padding;
      if (y < 0 || y >= shape.height || at < 0 || at >= shape.width) continue;
      const std::size_t pixel =
          (static_cast<std::size_t>(n) * static_cast<std::size_t>(shape.height) +
           static_cast<std::size_t>(y)) *
              static_cast<std::size_t>(shape.width) +
          static_cast<std::size_t>(at);
      float value[1];
      load(x + pixel * static_cast<std::size_t>(shape.channels) + static_cast<std::size_t>(c),
           value);
      sum[0] += value[0];
    }
  }
  combine_down<AddDown>(sum);
  if (threadIdx.y != 0 || c >= shape.channels) return;
  const int own = shape.channels / shape.groups;
  const auto window = static_cast<std::size_t>(shape.kernel * shape.kernel);
  sums[(static_cast<std::size_t>(c / own) * window + blockIdx.y) * static_cast<std::size_t>(own) +
       static_cast<std::size_t>(c % own)] = sum[0];
}

struct Widen {
  static constexpr int kWidth = 4;
  const float* from;
  double* to;

  template <int V>
  __device__ void at(std::size_t i) const {
    for (int v = 0; v < V; ++v)
      to[i + static_cast<std::size_t>(v)] = from[i + static_cast<std::size_t>(v)];
  }
};

/// The inputs of a filter, which the threads of a block share.
struct FilterInputs {
  std::size_t count;

  __device__ double dot(const float* a, const float* b) const {
    return sum([=](std::size_t i) { return double{a[i]} * b[i]; });
  }
  template <class Value>
  __device__ double sum(const Value& value) const {
    double own = 0.0;
    for (std::size_t i = threadIdx.x; i < count; i += kThreads) own += value(i);
    return block_total(own);
  }
  template <class Body>
  __device__ void each(const Body& body) const {
    for (std::size_t i = threadIdx.x; i < count; i += kThreads) body(i);
  }
};

struct Finalize {
  __device__ static void run(const CrossIterationFinalize& op,
                             const PointersOf<CrossIterationFinalize>& a, const StepState& state,
                             int c) {
    cross_iteration_finalize_channel(op, a, state, c, threadIdx.x == 0,
                                     FilterInputs{static_cast<std::size_t>(op.inputs)});
  }
};

struct Keep {
  __device__ static void run(const CrossIterationKeep& op, const PointersOf<CrossIterationKeep>& a,
                             const StepState& state, int c) {
    cross_iteration_keep_channel(op, a, state, c, threadIdx.x == 0,
                                 FilterInputs{static_cast<std::size_t>(op.inputs)});
  }
};

/// One channel per blockIdx.x, one group per blockIdx.y.
template <class Op, class Channel>
__global__ void __launch_bounds__(kThreads)
    each_filter(Op op, PointersOf<Op> a, StridesOf<Op> strides, const StepState* state) {
  Channel::run(op, of_group<Op>(a, strides, static_cast<int>(blockIdx.y)), *state,
               static_cast<int>(blockIdx.x));
}

template <class Channel, class Op>
KernelPtr make_filter_kernel(Context& context, const Op& op) {
  struct Body {
    Context& context;
    Op op;
    void expect(int) const {}
    bool together(std::span<void* const>, std::span<const std::size_t>) const { return true; }
    void run(const PointersOf<Op>& a, const StepState& state, const Repeats<Op>& repeats) const {
      launch(each_filter<Op, Channel>,
             dim3(static_cast<unsigned>(op.channels), static_cast<unsigned>(repeats.count)),
             dim3(kThreads), 0, context.stream, op, a, repeats.strides, context.use(state));
    }
  };
  return make_repeating_kernel<Op>(Body{context, op});
}

}  // namespace

template <>
KernelPtr compile(Context& context, const CrossIterationSums& op) {
  return make_kernel<CrossIterationSums>([op, &context](const auto& a, const StepState&) {
    const dim3 grid(static_cast<unsigned>((op.shape.channels + kAcross - 1) / kAcross),
                    static_cast<unsigned>(op.shape.kernel * op.shape.kernel));
    const auto run = [&]<class T>(const T* x) {
      launch(patch_sums<T>, grid, dim3(kAcross, kDown), 0, context.stream, op.shape, op.samples, x,
             a.sums);
    };
    if (op.storage == Storage::f32)
      run(static_cast<const float*>(a.x));
    else
      run(static_cast<const BFloat16*>(a.x));
    run_flat(context.stream, Widen{a.products, a.sums + op.patch_values()}, op.shape.weights());
  });
}

template <>
KernelPtr compile(Context& context, const CrossIterationFinalize& op) {
  return make_filter_kernel<Finalize>(context, op);
}

template <>
KernelPtr compile(Context& context, const CrossIterationKeep& op) {
  return make_filter_kernel<Keep>(context, op);
}

}  // namespace syncnorm::cuda
