// The closed set of operations that a training step is made of, as plain structs.
//
// An operation says what is computed on one call, for `samples` samples; a Device compiles it to a
// Kernel once. Tensors are f32 and channels last, [samples, height, width, channels], unless a line
// says otherwise; where an operation has a `storage`, its activations (x, y, residual, g and their
// gradients) are stored so. The comment behind each operation lists its arguments in order: inputs
// -> outputs;
// "?" marks one that is null when absent. Sums over samples cover exactly this call's samples.
#pragma once

#include <cstddef>
#include <cstdint>
#include <string>
#include <variant>
#include <vector>

namespace syncnorm {

enum class Activation { relu, sigmoid, tanh, elu, selu, gelu };
enum class PoolKind { max, average };

/// How activations and their gradients are stored. Arithmetic is f32 or better either way; a value
/// is rounded to nearest even when it is stored. Parameters, statistics, sums, weight gradients and
/// everything per channel are f32 or f64 whatever the storage.
enum class Storage { f32, bf16 };
constexpr std::size_t storage_bytes(Storage storage) { return storage == Storage::f32 ? 4 : 2; }

/// Shape of a 2-D convolution with square kernel. `pack_samples` is the batch for which the packed
/// weight layout was chosen, so that a smaller last batch shares the packed weights.
struct ConvShape {
  int height = 0, width = 0, channels = 0;
  int filters = 0, kernel = 0, stride = 1, padding = 0;
  bool bias = false;
  int pack_samples = 1;

  int out_height() const { return (height + 2 * padding - kernel) / stride + 1; }
  int out_width() const { return (width + 2 * padding - kernel) / stride + 1; }
  std::size_t weights() const {
    return static_cast<std::size_t>(filters) * channels * kernel * kernel;
  }
  bool operator==(const ConvShape&) const = default;
};

// weight [filters, channels, kernel, kernel] -> packed (layout and size of the device's choosing)
struct ConvPack {
  int samples = 1;
  ConvShape shape;
  bool for_dgrad = false;
  Storage storage = Storage::f32;
};
// x, packed, bias? -> y
struct ConvForward {
  int samples = 1;
  ConvShape shape;
  Storage storage = Storage::f32;
};
// dy, packed -> dx
struct ConvDgrad {
  int samples = 1;
  ConvShape shape;
  Storage storage = Storage::f32;
};
// x, dy -> dweight [filters, channels, kernel, kernel], dbias?
struct ConvWgrad {
  int samples = 1;
  ConvShape shape;
  Storage storage = Storage::f32;
};

// x [samples, in], weight [out, in], bias? -> y [samples, out]
struct LinearForward {
  int samples = 1;
  int in = 0, out = 0;
};
// dy, weight -> dx
struct LinearDgrad {
  int samples = 1;
  int in = 0, out = 0;
};
// x, dy -> dweight [out, in], dbias?
struct LinearWgrad {
  int samples = 1;
  int in = 0, out = 0;
};

// A weight computed from its parameters, one row per output of a conv or linear layer. Weight
// normalization (Salimans & Kingma 2016): w = g·v/‖v‖, scale = 1/‖v‖. Weight standardization (Qiao
// et al. 2019), when `standardize`: w = (v − mean)·scale, scale = 1/√(var + eps), biased variance.
// v [outputs, inputs], g? [outputs] -> w like v; f64 [outputs]: mean?, scale
struct WeightNormalize {
  int samples = 1;
  int outputs = 0, inputs = 0;
  bool standardize = false;
  double eps = 1e-5;
};
// dw, v, g?, mean?, scale -> dv, dg?
struct WeightNormalizeBackward {
  int samples = 1;
  int outputs = 0, inputs = 0;
  bool standardize = false;
};

struct PoolShape {
  PoolKind kind = PoolKind::max;
  int height = 0, width = 0, channels = 0;
  int kernel_height = 0, kernel_width = 0, stride = 1, padding = 0;
  int out_height() const { return (height + 2 * padding - kernel_height) / stride + 1; }
  int out_width() const { return (width + 2 * padding - kernel_width) / stride + 1; }
};
// x -> y, workspace? (Device::workspace_bytes; null in evaluation). Average excludes the padding.
struct PoolForward {
  int samples = 1;
  PoolShape shape;
  bool training = true;
  Storage storage = Storage::f32;
};
// dy, workspace? -> dx
struct PoolBackward {
  int samples = 1;
  PoolShape shape;
  Storage storage = Storage::f32;
};

// Batch normalization, in pieces: what happens between them is the caller's reduction.
// x -> sums f64 [2C+1]: count, count·mean, M2 + count·mean²
struct BatchMoments {
  int samples = 1;
  int pixels = 1, channels = 0;
  Storage storage = Storage::f32;
};
// A mean is kept as two f32 vectors, [2, C]: rounded, and what the rounding left over. The second
// one enters per-channel constants only, so that means far from zero cost no accuracy.
//
// Batch renormalization (Ioffe 2017) multiplies x̂ by r and adds d, both constants of the backward
// pass: r = clip(σ / σ_running, 1/r_max, r_max), d = clip((μ − μ_running) / σ_running, ±d_max).
// In the first `start` updates r = 1 and d = 0; then the limits widen linearly over `ramp` updates.
struct Renormalization {
  bool on = false;
  double r_max = 3.0, d_max = 5.0;
  int start = 0, ramp = 0;
};
// sums f64 [2C+1] -> mean [2, C], inv_std [C], running_mean? [C], running_var? [C], correction?
// [2, C] (r and d, from the running pair before its update; `renormalization.on` needs it)
// The running pair is updated when StepState says so and the count is at least 2.
struct BatchFinalize {
  int samples = 1;
  int channels = 0;
  double eps = 1e-5, momentum = 0.1;
  Renormalization renormalization = {};
};
// BatchNorm with another measure of deviation than the root mean square (Hoffer et al. 2018,
// Santurkar et al. 2018): s = factor·mean|x−μ| (l1) or max|x−μ| (linf); inv_std = 1/√(s² + eps),
// and s² takes the place of the variance in the running pair. What it takes, given the mean:
//   absolute: x, mean, (null) -> f64 [2C]: Σ|x−μ|, Σ sign(x−μ)
//   largest:  x, mean, (null) -> f64 [C]: max|x−μ|, to be reduced by the maximum
//   maxima:   x, mean, largest of the group -> f64 [2C]: how often |x−μ| is that, and Σ sign there
enum class DeviationPart { absolute, largest, maxima };
struct BatchDeviation {
  int samples = 1;
  int pixels = 1, channels = 0;
  DeviationPart part = DeviationPart::absolute;
  Storage storage = Storage::f32;
};
enum class Deviation { l2, l1, linf };
// forward sums f64 [2C+1] (its count), deviation f64 (absolute, or largest) -> inv_std [C],
// running_var? [C]
struct BatchFinalizeDeviation {
  int samples = 1;
  int channels = 0;
  Deviation deviation = Deviation::l1;
  double factor = 1.0;  // l1: √(π/2) makes s the standard deviation of normal values
  double eps = 1e-5, momentum = 0.1;
};
// sums f64 [count] -> totals f64 [count] += sums, for statistics over several batches
struct Accumulate {
  int samples = 1;
  int count = 0;
};
// running_mean, running_var -> mean [2, C], inv_std
struct BatchFromRunning {
  int samples = 1;
  int channels = 0;
  double eps = 1e-5;
};
// x, mean [2, C], inv_std [C], gamma?, beta?, residual?, correction? -> y = [relu](γ·x̂ + β [+
// residual]) with x̂ = (x−mean)·inv_std [·r + d]
struct BatchNormalize {
  int samples = 1;
  int pixels = 1, channels = 0;
  bool relu = false;
  Storage storage = Storage::f32;
};
// dy, dy2?, x, mean, inv_std, gamma?, beta?, y?, correction? -> sums f64 [2C]: Σg,
// Σg·(x−mean)·inv_std; dgamma?, dbeta?, g?
// g = (dy [+ dy2]) masked by ReLU: by y > 0 when y is given, else recomputed from x.
struct BatchGradientSums {
  int samples = 1;
  int pixels = 1, channels = 0;
  bool relu = false;
  Storage storage = Storage::f32;
};
// g (or dy, masked here when `relu`), x, mean, inv_std, gamma?, beta?, sums f64 [2C] over the
// group, forward sums f64 [2C+1] over the group (its count), correction?, deviation? (absolute, or
// largest), maxima? (linf) -> dx
// `frozen`: the statistics are constants, so dx = γ·inv_std·g, and neither sums nor x (but for the
// mask) are read.
struct BatchInputGradient {
  int samples = 1;
  int pixels = 1, channels = 0;
  bool relu = false;
  Deviation deviation = Deviation::l2;
  double factor = 1.0;
  bool frozen = false;
  Storage storage = Storage::f32;
};

// Group normalization; layer norm is groups = 1, instance norm groups = channels. RMS norm (Zhang &
// Sennrich 2019) is groups = 1 and not `centered`: its mean is 0 and inv_std = 1/√(mean(x²) + eps).
// x, gamma? [C], beta? [C], residual? -> y, mean [samples, 2, C], inv_std [samples, C]
struct GroupNormForward {
  int samples = 1;
  int pixels = 1, channels = 0, groups = 1;
  double eps = 1e-5;
  bool relu = false;
  bool centered = true;
  Storage storage = Storage::f32;
};
// dy, dy2?, x, mean, inv_std, gamma?, beta?, y? -> dx, dgamma?, dbeta?, g?
struct GroupNormBackward {
  int samples = 1;
  int pixels = 1, channels = 0, groups = 1;
  bool relu = false;
  bool centered = true;
  Storage storage = Storage::f32;
};

// x -> y
struct ActivationForward {
  int samples = 1;
  int size = 0;  // values per sample
  Activation kind = Activation::relu;
  Storage storage = Storage::f32;
};
// dy, x? (GELU only), y? (all others) -> dx
struct ActivationBackward {
  int samples = 1;
  int size = 0;
  Activation kind = Activation::relu;
  Storage storage = Storage::f32;
};
// a, b -> a + b
struct Add {
  int samples = 1;
  int size = 0;
  Storage storage = Storage::f32;
};
// x, sample_ids u32 [samples] -> y = x·mask/(1−p). Its own backward, with dy for x.
// When `alpha` (Klambauer et al. 2017): y = a·(x·mask + α'·(1−mask)) + b, which keeps mean 0 and
// variance 1, and dx = a·mask·dy when `backward`.
struct Dropout {
  int samples = 1;
  int size = 0;
  double p = 0.5;
  int layer = 0;  // number of the layer, part of the random key
  bool alpha = false;
  bool backward = false;
  Storage storage = Storage::f32;
};
// Noise behind a normalization, another one in every step (Santurkar et al. 2018, appendix A), per
// sample and channel, shared by its pixels: y = s·x + m with s ~ N(σ, sample_scale²),
// m ~ U(μ ± sample_mean); per channel and step σ ~ U(1, scale), μ ~ U(±mean).
// x [samples, pixels, channels], sample_ids u32 [samples] -> y; when `backward`, dy, sample_ids ->
// dx = s·dy. When `expected`, y is what the noise makes of x on average, and sample_ids are not
// read.
struct NormNoise {
  int samples = 1;
  int pixels = 1, channels = 0;
  double mean = 0.5, scale = 1.25;
  double sample_mean = 0.1, sample_scale = 0.1;
  int layer = 0;  // number of the layer, part of the random key
  bool backward = false;
  bool expected = false;
  Storage storage = Storage::f32;
};
// x [samples, pixels, channels] -> y [samples, channels, pixels]; `inverse` the other way
struct ToChannelsFirst {
  int samples = 1;
  int pixels = 1, channels = 0;
  bool inverse = false;
  Storage storage = Storage::f32;
};
// x stored as `from` -> y stored as the other
struct Convert {
  int samples = 1;
  int size = 0;
  Storage from = Storage::f32;
};
// What an output pixel of an augmented image shows: the stored pixel (y + source_y,
// direction_x · x + source_x) inside rows and columns, black outside, and the channel's mean where
// it is cut out. `used` 0: every value is 0.
struct ImageMap {
  std::int32_t source_y = 0, source_x = 0, direction_x = 1;
  std::int32_t rows_begin = 0, rows_end = 0, columns_begin = 0, columns_end = 0;
  std::int32_t cut_rows_begin = 0, cut_rows_end = 0, cut_columns_begin = 0, cut_columns_end = 0;
  std::int32_t used = 0;
};
// stored images u8 [samples, height, width, channels], ImageMap [samples], what each byte becomes
// f32 [channels, 256] -> f32 [samples, height, width, channels]
struct MakeImages {
  int samples = 1;
  int height = 1, width = 1, channels = 1;
};
// logits [samples, classes], labels i32 [samples] -> totals f64 [4]: Σ loss, number correct, the
// state's vote, 0;
// dlogits? = gradient_scale · ∂loss/∂logits. A label of -1 is an unused slot: no loss, no gradient.
struct SoftmaxCrossEntropy {
  int samples = 1;
  int classes = 0;
  double label_smoothing = 0.0;
  double gradient_scale = 1.0;
};

// Updates of `count` consecutive values; rate and step come from StepState. The gradient is
// multiplied by factor f32 [1] (1 without); where that is nan, nothing is changed.
// parameter, gradient, velocity, factor? (may be left out) -> (in place)
struct SgdUpdate {
  int samples = 1;
  std::size_t count = 0;
  double momentum = 0.9, weight_decay = 0.0;
  bool nesterov = false;
};
// parameter, gradient, first moment, second moment, factor? (may be left out) -> (in place)
struct AdamUpdate {
  int samples = 1;
  std::size_t count = 0;
  double beta1 = 0.9, beta2 = 0.999, eps = 1e-8, weight_decay = 0.0;
  bool decoupled = false;  // AdamW
};
// gradient -> f64 [1]: Σ gradient²
struct SumOfSquares {
  int samples = 1;
  std::size_t count = 0;
};
// Σ gradient² f64 [1], loss f64? [1], factor f32 [1] -> factor: 1, or what clips the gradient's
// 2-norm to `clip_norm` (0: none), as torch.nn.utils.clip_grad_norm_ does. It becomes nan where the
// norm or the loss is not finite, and then stays nan until somebody sets it: no update is applied.
struct GradientFactor {
  int samples = 1;
  double clip_norm = 0.0;
};
// nodes [merges.size()] of `count` values, `stride` values apart -> what is left of them, `count`
// values apart. Node i is put on a stack, and then the topmost two places are merged merges[i]
// times (FoldPlan in comm/tree.h): added, or the larger one taken.
struct TreeFold {
  int samples = 1;
  std::vector<int> merges;
  std::size_t count = 0, stride = 0;
  bool maximum = false;
  bool doubles = true;  // f64, else f32
  int left() const {
    int nodes = 0;
    for (const int m : merges) nodes += 1 - m;
    return nodes;
  }
};

using Op =
    std::variant<ConvPack, ConvForward, ConvDgrad, ConvWgrad, LinearForward, LinearDgrad,
                 LinearWgrad, WeightNormalize, WeightNormalizeBackward, PoolForward, PoolBackward,
                 BatchMoments, BatchFinalize, BatchDeviation, BatchFinalizeDeviation, Accumulate,
                 BatchFromRunning, BatchNormalize, BatchGradientSums, BatchInputGradient,
                 GroupNormForward, GroupNormBackward, ActivationForward, ActivationBackward, Add,
                 Dropout, NormNoise, ToChannelsFirst, Convert, SoftmaxCrossEntropy, SgdUpdate,
                 AdamUpdate, SumOfSquares, GradientFactor, TreeFold, MakeImages>;

/// The same operation on another number of samples.
inline Op with_samples(Op op, int samples) {
  std::visit([samples](auto& o) { o.samples = samples; }, op);
  return op;
}

/// The storage of the operation's activations; f32 where it has none of its own.
Storage storage_of(const Op& op);

/// Name of the operation's kind, such as "conv dgrad".
std::string op_name(const Op& op);

/// All fields as text, for `syncnorm plan`, for the fingerprint that ranks compare, and as a cache
/// key.
std::string op_text(const Op& op);

}  // namespace syncnorm
