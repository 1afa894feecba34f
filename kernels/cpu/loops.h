// The CPU loops of our own, one table per instruction set, chosen once at run time.
//
// All of them work on row-major f32 matrices [rows, channels]: channels last makes normalization a
// column reduction. The order of every sum is fixed by (rows, channels) and the instruction set
// alone.
#pragma once

#include <cstddef>
#include <string>

namespace syncnorm::cpu {

/// y = (x − mean)·scale + shift [+ residual] [then max(·, 0)]; vectors are [channels].
struct NormalizeArgs {
  const float* x;
  const float* residual;  // or null
  float* y;
  const float* mean;
  const float* scale;
  const float* shift;
  std::size_t rows;
  int channels;
  bool relu;
};

/// g = dy [+ dy2], zeroed where ReLU was inactive: where y ≤ 0 when y is given, else where
/// (x − mean)·scale + shift ≤ 0. sum_g = Σg and sum_gx = Σ g·(x − mean) per channel, f64.
struct GradientSumsArgs {
  const float* dy;
  const float* dy2;  // or null
  const float* x;
  const float* y;  // or null
  float* g;        // or null: g is not kept
  const float* mean;
  const float* scale;
  const float* shift;
  double* sum_g;
  double* sum_gx;
  std::size_t rows;
  int channels;
  bool relu;
};

/// h(x − mean) of the input gradient: the value itself, its sign, or its sign where it has the
/// size `largest`, else 0. For the signs the mean is `mean` + `rest`.
enum class Direction { value, sign, sign_of_largest };

/// dx = a·g + b·h(x − mean) + d, with g masked as above (recomputed from x) when relu.
struct InputGradientArgs {
  const float* g;
  const float* x;
  float* dx;
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
  const float* rest = nullptr;     // not for Direction::value
  const float* largest = nullptr;  // Direction::sign_of_largest
};

/// Sums (or the maximum) of |x − mean| per channel, where mean is `mean` + `rest`; see
/// BatchDeviation in ops.h. first and second are [channels], f64; largest is read by maxima only.
struct DeviationArgs {
  const float* x;
  const float* mean;
  const float* rest;
  const float* largest;
  double* first;
  double* second;  // null for the maximum
  std::size_t rows;
  int channels;
};

struct Loops {
  const char* name;
  /// Mean and M2 = Σ(x − mean)² of each column, in f64. Blocks of rows are summed in f32 about
  /// their own mean and merged in f64 (Chan, Golub & LeVeque 1979), so large means lose nothing.
  void (*moments)(const float* x, std::size_t rows, int channels, double* mean, double* m2);
  void (*normalize)(const NormalizeArgs&);
  void (*gradient_sums)(const GradientSumsArgs&);
  void (*input_gradient)(const InputGradientArgs&);
  void (*absolute_deviation)(const DeviationArgs&);
  void (*largest_deviation)(const DeviationArgs&);
  void (*count_largest)(const DeviationArgs&);
  void (*relu)(const float* x, float* y, std::size_t count);
  void (*relu_backward)(const float* dy, const float* y, float* dx, std::size_t count);
  void (*add)(const float* a, const float* b, float* y, std::size_t count);
  /// PyTorch's SGD: g' = scale·g + decay·p; v = momentum·v + g'; p -= rate·(nesterov ? g' +
  /// momentum·v : v).
  void (*sgd)(float* p, const float* g, float* v, std::size_t count, float rate, float scale,
              float momentum, float decay, bool nesterov);
  double (*sum_of_squares)(const float* x, std::size_t count);
};

extern const Loops loops_baseline;
extern const Loops loops_avx2;
extern const Loops loops_avx512;

/// The table named `isa`, or the best this processor runs when empty. Throws InputError otherwise.
const Loops& select_loops(const std::string& isa);

}  // namespace syncnorm::cpu
