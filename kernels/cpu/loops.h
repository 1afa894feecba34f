// Our own CPU loops, one table per instruction set, chosen once at run time.
//
// All loops process row-major matrices [rows, channels]: with channels last, normalization is a
// column reduction. S is the storage type of the values, float or BFloat16; arithmetic is f32 and
// f64. (rows, channels) and the instruction set alone determine the order of every sum.
//
// `past_caches`: the results are too large to stay in a cache, so they may be written with
// non-temporal stores. The results are the same bit for bit.
#pragma once

#include <cstddef>
#include <string>

#include "kernels/bfloat16.h"
#include "kernels/ops/activated_norm.h"
#include "kernels/ops/pointwise_norm.h"
#include "kernels/resample_math.h"

namespace syncnorm::cpu {

/// y = (x − mean)·scale + shift [+ residual] [then max(·, 0)]; vectors are [channels].
template <class S>
struct NormalizeArgs {
  const S* x;
  const S* residual;  // or null
  S* y;
  const float* mean;
  const float* scale;
  const float* shift;
  std::size_t rows;
  int channels;
  bool relu;
  bool past_caches = false;
};

/// g = dy [+ dy2], zeroed where ReLU was inactive: where y ≤ 0 when y is given, else where
/// (x − mean)·scale + shift ≤ 0. sum_g = Σg and sum_gx = Σ g·(x − mean) per channel, f64.
template <class S>
struct GradientSumsArgs {
  const S* dy;
  const S* dy2;  // or null
  const S* x;
  const S* y;  // or null
  S* g;        // or null, when g is not kept
  const float* mean;
  const float* scale;
  const float* shift;
  double* sum_g;
  double* sum_gx;
  std::size_t rows;
  int channels;
  bool relu;
  bool past_caches = false;
};

/// The h(x − mean) of the input gradient: the value itself, its sign, or its sign where its
/// magnitude is `largest` and else 0. For the signs, the mean is `mean` + `rest`.
enum class Direction { value, sign, sign_of_largest };

/// dx = a·g + b·h(x − mean) + d; when relu, g is masked as above, recomputed from x.
template <class S>
struct InputGradientArgs {
  const S* g;
  const S* x;
  S* dx;
  const float* mean;
  const float* scale;
  const float* shift;
  const float* a;
  const float* b;
  const float* d;
  std::size_t rows;
  int channels;
  bool relu;
  Direction direction = Direction::value;
  const float* rest = nullptr;     // unused for Direction::value
  const float* largest = nullptr;  // for Direction::sign_of_largest
  bool past_caches = false;
};

/// Sums (or the maximum) of |x − mean| per channel, where the mean is `mean` + `rest`; see
/// BatchDeviation. first and second are [channels], f64; only count_largest reads `largest`.
template <class S>
struct DeviationArgs {
  const S* x;
  const float* mean;
  const float* rest;
  const float* largest;
  double* first;
  double* second;  // null for the maximum
  std::size_t rows;
  int channels;
};

/// Every row normalized by its own mean and deviation: y = γ·(x − mean)/√(variance + eps) + β
/// [+ residual] [then max(·, 0)]; gamma and beta are [channels].
template <class S>
struct RowNormArgs {
  const S* x;
  const S* residual;  // or null
  S* y;
  const float* gamma;
  const float* beta;
  std::size_t rows;
  int channels;
  float eps;
  bool relu;
};

/// Its gradients, with g as in GradientSumsArgs: sum_g = Σg and sum_gx = Σg·x̂ per channel, f64.
template <class S>
struct RowNormGradientArgs {
  const S* dy;
  const S* dy2;  // or null
  const S* x;
  const S* y;  // or null
  S* dx;
  S* g;  // or null, when g is not kept
  const float* gamma;
  const float* beta;
  double* sum_g;
  double* sum_gx;
  float* scratch;  // [10, channels]
  std::size_t rows;
  int channels;
  float eps;
  bool relu;
};

/// y = γ·f(alpha·x + shift) + β [+ residual] [then max(·, 0)]; gamma and beta are [channels].
template <class S>
struct PointwiseNormArgs {
  const S* x;
  const S* residual;  // or null
  S* y;
  float alpha, shift;
  const float* gamma;
  const float* beta;
  std::size_t rows;
  int channels;
  PointwiseFunction function;
  bool relu;
};

/// dx = alpha·γ·d, and tables [rows, channels] of what the other gradients sum: g as in
/// GradientSumsArgs, f(z), d = g·f'(z) and x, where z = alpha·x + shift.
template <class S>
struct PointwiseNormGradientArgs {
  const S* dy;
  const S* dy2;  // or null
  const S* x;
  const S* y;  // or null
  S* dx;
  S* g;  // or null, when g is not kept
  float alpha, shift;
  const float* gamma;
  const float* beta;
  float *table_g, *table_f, *table_d, *table_x;
  std::size_t rows;
  int channels;
  PointwiseFunction function;
  bool relu;
};

/// See ActivatedNormForward: scale is γ·k, and slope may be null for a threshold. Vectors are
/// [channels].
template <class S>
struct ActivatedNormArgs {
  const S* x;
  const S* residual;  // or null
  S* y;
  const float* scale;
  const float* beta;
  const float* slope;
  std::size_t rows;
  int channels;
  NormActivation activation;
  bool relu;
};

/// Its gradients in two passes, with g as in GradientSumsArgs. The first sums, per channel, f64:
/// threshold: g and g·x where y > τ, and g elsewhere; swish, with u = x·σ(v·x): g, g·u and g·∂u/∂v.
/// The second computes dx = a·g·w + b·(x − mean) + d, where w is 1 where y > τ and else 0, or
/// ∂u/∂x.
template <class S>
struct ActivatedNormGradientArgs {
  const S* dy;
  const S* dy2;  // or null
  const S* x;
  const S* y;  // or null
  S* g;        // or null, when g is not kept
  const float* scale;
  const float* beta;
  const float* slope;
  std::size_t rows;
  int channels;
  NormActivation activation;
  bool relu;
  double* sums = nullptr;    // [3, channels]: added to
  float* scratch = nullptr;  // [3, channels]
  S* dx = nullptr;
  const float* mean = nullptr;
  const float* a = nullptr;
  const float* b = nullptr;
  const float* d = nullptr;
};

/// The vectors [channels] of EvoNorm-B0's passes over one sample: y = gamma·x/D + beta, D =
/// max(of_batch, slope·x + of_sample).
struct EvoNormVectors {
  const float* gamma;
  const float* beta;
  const float* slope;
  const float* of_batch;
  const float* of_sample;
};

template <class S>
struct EvoNormArgs {
  const S* x;
  const S* residual;  // or null
  S* y;
  EvoNormVectors vectors;
  std::size_t rows;
  int channels;
  bool relu;
};

/// Its gradients in two passes, with g as in GradientSumsArgs. The first sums, per channel, f64: g;
/// g·x where D is the batch's; and where it is the sample's g·x/D, g·x/D² and g·x²/D². The second
/// computes dx = gamma·g·∂(x/D)/∂x + b·(x − mean) + d, where ∂ holds both deviations constant.
template <class S>
struct EvoNormGradientArgs {
  const S* dy;
  const S* dy2;  // or null
  const S* x;
  const S* y;  // or null
  S* g;        // or null, when g is not kept
  EvoNormVectors vectors;
  std::size_t rows;
  int channels;
  bool relu;
  double* sums = nullptr;    // [5, channels]: added to
  float* scratch = nullptr;  // [5, channels]
  S* dx = nullptr;
  const float* mean = nullptr;
  const float* b = nullptr;
  const float* d = nullptr;
};

/// y [pixels, channels] from a row of another number of pixels. That row is f32 and has room for
/// kResamplePadding values behind its last.
struct ResampleRowArgs {
  const float* row;
  const ResampleSource* sources;  // [pixels]
  int pixels, channels;
};
inline constexpr std::size_t kResamplePadding = 16;

/// Pixel i of dx [pixels, channels] is Σ weights[o]·row[o] over the readers o of i. The weights of
/// pixel i follow those of pixel i − 1; the row has room as above.
struct ResampleRowGradientArgs {
  const float* row;
  const ResampleReaders* readers;  // [pixels]
  const float* weights;
  int pixels, channels;
};

template <class S>
struct StorageLoops {
  /// Mean and M2 = Σ(x − mean)² of each column, in f64. Blocks of rows are summed in f32 about a
  /// value near their mean and merged in f64, so large means cost no accuracy.
  void (*moments)(const S* x, std::size_t rows, int channels, double* mean, double* m2);
  void (*normalize)(const NormalizeArgs<S>&);
  void (*gradient_sums)(const GradientSumsArgs<S>&);
  void (*input_gradient)(const InputGradientArgs<S>&);
  void (*absolute_deviation)(const DeviationArgs<S>&);
  void (*largest_deviation)(const DeviationArgs<S>&);
  void (*count_largest)(const DeviationArgs<S>&);
  void (*row_norm)(const RowNormArgs<S>&);
  void (*row_norm_gradient)(const RowNormGradientArgs<S>&);
  void (*pointwise_norm)(const PointwiseNormArgs<S>&);
  void (*pointwise_norm_gradient)(const PointwiseNormGradientArgs<S>&);
  void (*activated_norm)(const ActivatedNormArgs<S>&);
  void (*activated_norm_sums)(const ActivatedNormGradientArgs<S>&);
  void (*activated_norm_gradient)(const ActivatedNormGradientArgs<S>&);
  void (*evonorm)(const EvoNormArgs<S>&);
  void (*evonorm_sums)(const EvoNormGradientArgs<S>&);
  void (*evonorm_gradient)(const EvoNormGradientArgs<S>&);
  void (*relu)(const S* x, S* y, std::size_t count);
  void (*relu_backward)(const S* dy, const S* y, S* dx, std::size_t count);
  void (*add)(const S* a, const S* b, S* y, std::size_t count);
  void (*multiply)(const S* a, const S* b, S* y, std::size_t count);
  /// y [rows, channels] = x · factors [rows].
  void (*scale_rows)(const S* x, const S* factors, S* y, std::size_t rows, int channels);
  /// sums [rows] = Σ a·b over the channels.
  void (*row_products)(const S* a, const S* b, S* sums, std::size_t rows, int channels);
  /// y = lower + weight·(upper − lower), and sum += weight·x.
  void (*blend)(const S* lower, const S* upper, float weight, float* y, std::size_t count);
  void (*add_weighted)(const S* x, float weight, float* sum, std::size_t count);
  void (*resample_row)(const ResampleRowArgs&, S* y);
  void (*resample_row_gradient)(const ResampleRowGradientArgs&, S* dx);
};

struct Loops {
  const char* name;
  StorageLoops<float> f32;
  StorageLoops<BFloat16> bf16;
  void (*narrow)(const float* x, BFloat16* y, std::size_t count);
  void (*widen)(const BFloat16* x, float* y, std::size_t count);
  /// average += (x − average)·weight
  void (*average)(float* average, const float* x, std::size_t count, float weight);
  /// PyTorch's SGD: g' = scale·g + decay·p; v = momentum·v + g'; p -= rate·(nesterov ? g' +
  /// momentum·v : v).
  void (*sgd)(float* p, const float* g, float* v, std::size_t count, float rate, float scale,
              float momentum, float decay, bool nesterov);
  double (*dot)(const float* a, const float* b, std::size_t count);  // in f64

  template <class S>
  const StorageLoops<S>& of() const {
    if constexpr (sizeof(S) == sizeof(float))
      return f32;
    else
      return bf16;
  }
};

extern const Loops loops_baseline;
extern const Loops loops_avx2;
extern const Loops loops_avx512;

/// Returns the table named `isa`, or when empty the one that SYNCNORM_ISA names, else the best that
/// this processor supports. Throws InputError for an unknown or unsupported name.
const Loops& select_loops(const std::string& isa);

}  // namespace syncnorm::cpu
