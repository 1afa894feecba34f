// The loss of pixels on CUDA: a thread computes a pixel, exponentials in f32; blocks add in f64, in
// a fixed tree, and one block adds the blocks.
#include "kernels/cuda/flat.h"
#include "kernels/segmentation_math.h"

namespace syncnorm::cuda {
namespace {

constexpr int kMostClasses = 256;

unsigned blocks_of(std::size_t pixels) {
  return static_cast<unsigned>((pixels + kThreads - 1) / kThreads);
}

/// The softmax of one pixel.
template <class T>
struct Softmax {
  const T* logits;
  int classes, best = 0;
  float top, total = 0.0f;

  __device__ Softmax(const T* pixel, int k) : logits(pixel), classes(k), top(as_float(pixel[0])) {
    for (int c = 1; c < classes; ++c)
      if (as_float(logits[c]) > top) {
        top = as_float(logits[c]);
        best = c;
      }
    for (int c = 0; c < classes; ++c) total += expf(as_float(logits[c]) - top);
  }
  __device__ float p(int c) const { return expf(as_float(logits[c]) - top) / total; }
};

/// A block per class.
__global__ void __launch_bounds__(kThreads)
    count_pixels(const std::uint8_t* mask, std::size_t pixels, double* counts) {
  double count = 0.0;
  for (std::size_t i = threadIdx.x; i < pixels; i += kThreads)
    count += mask[i] == blockIdx.x ? 1.0 : 0.0;
  count = block_total(count);
  if (threadIdx.x == 0) counts[blockIdx.x] = count;
}

/// partial [blocks, 2, classes].
template <class T>
__global__ void __launch_bounds__(kThreads)
    partial_dice(DiceSums op, const T* logits, const std::uint8_t* mask, std::size_t pixels,
                 double* partial) {
  const std::size_t i = blockIdx.x * static_cast<std::size_t>(kThreads) + threadIdx.x;
  const int label = i < pixels ? mask[i] : kMostClasses;
  const auto classes = static_cast<std::size_t>(op.classes);
  const Softmax<T> softmax(logits + (i < pixels ? i : 0) * classes, op.classes);
  double* own = partial + blockIdx.x * 2 * classes;
  for (int c = 0; c < op.classes; ++c) {
    const double p = label < op.classes ? softmax.p(c) : 0.0f;
    const double of_class = block_total(label == c ? p : 0.0), of_all = block_total(p);
    if (threadIdx.x != 0) continue;
    own[c] = of_class;
    own[classes + static_cast<std::size_t>(c)] = of_all;
  }
}

/// sums[v] = Σ partial[block, v]; a block per value.
__global__ void __launch_bounds__(kThreads)
    add_blocks(unsigned blocks, const double* partial, double* sums) {
  double sum = 0.0;
  for (unsigned b = threadIdx.x; b < blocks; b += kThreads)
    sum += partial[b * gridDim.x + blockIdx.x];
  sum = block_total(sum);
  if (threadIdx.x == 0) sums[blockIdx.x] = sum;
}

/// The terms that all pixels of a call share.
struct PixelLossShape {
  int classes;
  double label_smoothing, dice_weight;
  std::size_t pixels;
};

/// The terms that the threads of a block share.
struct PixelLossTerms {
  DiceSlope slopes[kMostClasses];
  double dice, weights, all;  // the weighted Dice loss, Σ of the pixels' weights, of the classes'
};

/// `counts` and `sums` may be null.
__device__ inline void prepare(const PixelLossShape& op, const double* weights,
                               const double* counts, const double* sums, PixelLossTerms& terms) {
  const bool dice = sums != nullptr && counts != nullptr && op.dice_weight > 0.0;
  const double scale = op.dice_weight / op.classes;
  double loss = 0.0, total = 0.0, all = 0.0;
  for (int k = static_cast<int>(threadIdx.x); k < op.classes; k += kThreads) {
    const double weight = class_weight(weights, k);
    terms.slopes[k] = {0.0f, 0.0f};
    if (dice) {
      terms.slopes[k] = dice_slope(sums[k], sums[op.classes + k], counts[k], scale);
      loss += scale * dice_loss(sums[k], sums[op.classes + k], counts[k]);
    }
    if (counts != nullptr) total += weight * counts[k];
    all += weight;
  }
  loss = block_total(loss);
  total = block_total(total);
  all = block_total(all);
  if (threadIdx.x == 0) {
    terms.dice = loss;
    terms.weights = total;
    terms.all = all;
  }
  __syncthreads();
}

template <class T>
__device__ void write_slopes(const PixelLossShape& op, const Softmax<T>& softmax, int label,
                             const double* weights, const PixelLossTerms& terms, T* gradient) {
  if (label >= op.classes || terms.weights <= 0.0) {
    for (int c = 0; c < op.classes; ++c) gradient[c] = as_stored<T>(0.0f);
    return;
  }
  const auto slope = [&](int c) {
    return c == label ? terms.slopes[c].of_class : terms.slopes[c].of_other;
  };
  const auto own =
      static_cast<float>((1.0 - op.label_smoothing) / terms.weights * class_weight(weights, label));
  const auto share = static_cast<float>(op.label_smoothing / op.classes / terms.weights);
  float dot = 0.0f;
  if (op.dice_weight > 0.0)
    for (int c = 0; c < op.classes; ++c) dot += softmax.p(c) * slope(c);
  for (int c = 0; c < op.classes; ++c) {
    const float p = softmax.p(c);
    float g = pixel_slope(p, own, c == label ? own : 0.0f, share, static_cast<float>(terms.all),
                          static_cast<float>(class_weight(weights, c)));
    if (op.dice_weight > 0.0) g += p * (slope(c) - dot);
    gradient[c] = as_stored<T>(g);
  }
}

/// partial [blocks, 4]: loss, correct, counted, weight.
template <class T>
__global__ void __launch_bounds__(kThreads)
    pixel_losses(PixelLossShape op, const T* logits, const std::uint8_t* mask,
                 const double* weights, const double* counts, const double* sums, T* gradient,
                 double* partial) {
  __shared__ PixelLossTerms terms;
  prepare(op, weights, counts, sums, terms);
  const std::size_t i = blockIdx.x * static_cast<std::size_t>(kThreads) + threadIdx.x;
  double loss = 0.0, correct = 0.0, counted = 0.0, weight = 0.0;
  if (i < op.pixels) {
    const int label = mask[i];
    const std::size_t at = i * static_cast<std::size_t>(op.classes);
    const Softmax<T> softmax(logits + at, op.classes);
    if (gradient != nullptr) write_slopes(op, softmax, label, weights, terms, gradient + at);
    if (label < op.classes) {
      const double log_total = log(static_cast<double>(softmax.total));
      const double top = softmax.top;
      weight = class_weight(weights, label);
      counted = 1.0;
      correct = softmax.best == label ? 1.0 : 0.0;
      loss = (1.0 - op.label_smoothing) * weight *
                 (log_total + (top - as_float(softmax.logits[label]))) +
             weight * terms.dice;
      if (op.label_smoothing > 0.0)
        for (int c = 0; c < op.classes; ++c)
          loss += op.label_smoothing / op.classes * class_weight(weights, c) *
                  (log_total + (top - as_float(softmax.logits[c])));
    }
  }
  loss = block_total(loss);
  correct = block_total(correct);
  counted = block_total(counted);
  weight = block_total(weight);
  if (threadIdx.x != 0) return;
  double* own = partial + blockIdx.x * std::size_t{4};
  own[0] = loss;
  own[1] = correct;
  own[2] = counted;
  own[3] = weight;
}

__global__ void __launch_bounds__(kThreads)
    add_pixel_losses(unsigned blocks, const double* partial, const StepState* state,
                     double* totals) {
  double sums[4] = {};
  for (unsigned b = threadIdx.x; b < blocks; b += kThreads)
    for (int v = 0; v < 4; ++v) sums[v] += partial[4 * b + static_cast<unsigned>(v)];
  for (double& sum : sums) sum = block_total(sum);
  if (threadIdx.x != 0) return;
  totals[0] = sums[0];
  totals[1] = sums[1];
  totals[2] = state->vote;
  totals[3] = sums[2];
  totals[4] = sums[3];
}

template <class T>
__global__ void __launch_bounds__(kThreads)
    largest_logits(int classes, const T* logits, std::size_t pixels, std::int32_t* predictions) {
  const std::size_t i = blockIdx.x * static_cast<std::size_t>(kThreads) + threadIdx.x;
  if (i >= pixels) return;
  const T* own = logits + i * static_cast<std::size_t>(classes);
  int best = 0;
  for (int c = 1; c < classes; ++c)
    if (as_float(own[c]) > as_float(own[best])) best = c;
  predictions[i] = best;
}

template <class Run>
void with_type(Storage storage, const Run& run) {
  if (storage == Storage::f32)
    run.template operator()<float>();
  else
    run.template operator()<BFloat16>();
}

}  // namespace

template <>
KernelPtr compile(Context& context, const PixelCounts& op) {
  return make_kernel<PixelCounts>([op, &context](const auto& a, const StepState&) {
    launch(count_pixels, dim3(static_cast<unsigned>(op.classes)), dim3(kThreads), 0, context.stream,
           a.mask, values(op.samples, op.pixels), a.counts);
  });
}

template <>
KernelPtr compile(Context& context, const DiceSums& op) {
  const std::size_t pixels = values(op.samples, op.pixels);
  const auto sums = static_cast<unsigned>(2 * op.classes);
  context.need_scratch(blocks_of(pixels) * std::size_t{sums} * sizeof(double));
  return make_kernel<DiceSums>([op, pixels, sums, &context](const auto& a, const StepState&) {
    auto* partial = context.scratch<double>();
    with_type(op.storage, [&]<class T>() {
      launch(partial_dice<T>, dim3(blocks_of(pixels)), dim3(kThreads), 0, context.stream, op,
             typed<T>(a.logits), a.mask, pixels, partial);
    });
    launch(add_blocks, dim3(sums), dim3(kThreads), 0, context.stream, blocks_of(pixels), partial,
           a.sums);
  });
}

template <>
KernelPtr compile(Context& context, const PixelLoss& op) {
  const PixelLossShape shape{op.classes, op.label_smoothing, op.dice_weight,
                             values(op.samples, op.pixels)};
  context.need_scratch(blocks_of(shape.pixels) * 4 * sizeof(double));
  auto weights = std::make_shared<Buffer>();
  if (const std::size_t bytes = op.class_weights.size() * sizeof(double); bytes > 0) {
    *weights = allocate_device(bytes, context.stream);
    check(cudaMemcpyAsync(weights->data(), op.class_weights.data(), bytes, cudaMemcpyDefault,
                          context.stream),
          "could not copy the weights of classes");
    check(cudaStreamSynchronize(context.stream), "could not copy the weights of classes");
  }
  const Storage storage = op.storage;
  return make_kernel<PixelLoss>(
      [shape, storage, weights, &context](const auto& a, const StepState& state) {
        auto* partial = context.scratch<double>();
        const unsigned blocks = blocks_of(shape.pixels);
        with_type(storage, [&]<class T>() {
          launch(pixel_losses<T>, dim3(blocks), dim3(kThreads), 0, context.stream, shape,
                 typed<T>(a.logits), a.mask, weights->template as<double>().data(), a.counts,
                 a.dice, typed<T>(a.dlogits), partial);
        });
        launch(add_pixel_losses, dim3(1), dim3(kThreads), 0, context.stream, blocks, partial,
               context.use(state), a.totals);
      });
}

template <>
KernelPtr compile(Context& context, const Predict& op) {
  const std::size_t pixels = values(op.samples, op.pixels);
  return make_kernel<Predict>([op, pixels, &context](const auto& a, const StepState&) {
    with_type(op.storage, [&]<class T>() {
      launch(largest_logits<T>, dim3(blocks_of(pixels)), dim3(kThreads), 0, context.stream,
             op.classes, typed<T>(a.logits), pixels, a.predictions);
    });
  });
}

}  // namespace syncnorm::cuda
