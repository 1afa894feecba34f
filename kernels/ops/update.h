// Operations after the backward pass: the gradient's norm, parameter updates, and the sums of a
// tree reduction. Updates process `count` consecutive values; learning rate and step come from
// StepState. The gradient is multiplied by factor f32 [1] (by 1 when absent); where factor is nan,
// nothing changes.
#pragma once

#include <vector>

#include "kernels/ops/field.h"
#include "kernels/ops/operand.h"

namespace syncnorm {

struct SgdUpdate {
  int samples = 1;
  std::size_t count = 0;
  double momentum = 0.9, weight_decay = 0.0;
  bool nesterov = false;

  static constexpr const char* kName = "sgd";
  template <class Visit>
  static constexpr void fields(const Visit& field) {
    field("{}", &SgdUpdate::count);
    field(" momentum {}", &SgdUpdate::momentum);
    field(" decay {}", &SgdUpdate::weight_decay);
    field(" nesterov", &SgdUpdate::nesterov);
  }
  template <class As>
  struct Operands {
    In<As, float> gradient;
    OptionalIn<As, float> factor;
    InOut<As, float> parameter, velocity;
  };
};

struct AdamUpdate {
  int samples = 1;
  std::size_t count = 0;
  double beta1 = 0.9, beta2 = 0.999, eps = 1e-8, weight_decay = 0.0;
  bool decoupled = false;  // AdamW

  static constexpr const char* kName = "adam";
  template <class Visit>
  static constexpr void fields(const Visit& field) {
    field("{}", &AdamUpdate::count);
    field(" betas {}", &AdamUpdate::beta1);
    field(" {}", &AdamUpdate::beta2);
    field(" eps {}", &AdamUpdate::eps);
    field(" decay {}", &AdamUpdate::weight_decay);
    field(" decoupled", &AdamUpdate::decoupled);
  }
  template <class As>
  struct Operands {
    In<As, float> gradient;
    OptionalIn<As, float> factor;
    InOut<As, float> parameter, first_moment, second_moment;
  };
};

/// average += (1 − decay)·(value − average), in f32, in every `every`-th update, counted from the
/// first (StepState::step); the others change nothing.
struct ExponentialAverage {
  int samples = 1;
  std::size_t count = 0;
  double decay = 0.999;
  int every = 1;

  static constexpr const char* kName = "exponential average";
  template <class Visit>
  static constexpr void fields(const Visit& field) {
    field("{}", &ExponentialAverage::count);
    field(" decay {}", &ExponentialAverage::decay);
    field(" every {}", &ExponentialAverage::every);
  }
  template <class As>
  struct Operands {
    In<As, float> value;
    OptionalIn<As, float> factor;
    InOut<As, float> average;
  };
};

/// sum f64 [1]: Σ gradient².
struct SumOfSquares {
  int samples = 1;
  std::size_t count = 0;

  static constexpr const char* kName = "sum of squares";
  template <class Visit>
  static constexpr void fields(const Visit& field) {
    field("{}", &SumOfSquares::count);
  }
  template <class As>
  struct Operands {
    In<As, float> gradient;
    Out<As, double> sum;
  };
};

/// Computes factor f32 [1] from Σ gradient² f64 [1] and loss f64 [1]: 1, or the factor that clips
/// the gradient's 2-norm to `clip_norm` (0: no clipping), as torch.nn.utils.clip_grad_norm_ does. A
/// norm or loss that is not finite makes it nan; it then stays nan, and no update is applied, until
/// the caller sets it.
struct GradientFactor {
  int samples = 1;
  double clip_norm = 0.0;

  static constexpr const char* kName = "gradient factor";
  template <class Visit>
  static constexpr void fields(const Visit& field) {
    field("clip {}", &GradientFactor::clip_norm);
  }
  template <class As>
  struct Operands {
    In<As, double> sum_of_squares;
    OptionalIn<As, double> loss;
    InOut<As, float> factor;
  };
};

/// Clips the gradient of each unit, a row of a weight [outputs, inputs]: where its 2-norm is above
/// `ratio` times the larger of the row's 2-norm and `floor`, it is scaled down to that. Adaptive
/// gradient clipping of Brock et al. 2021; 1e-6 as in their code. A vector of parameters is one
/// row.
struct AdaptiveClip {
  int samples = 1;
  int outputs = 0, inputs = 0;
  double ratio = 0.01, floor = 1e-3;

  static constexpr const char* kName = "adaptive clip";
  template <class Visit>
  static constexpr void fields(const Visit& field) {
    field("{}", &AdaptiveClip::outputs);
    field(" x {}", &AdaptiveClip::inputs);
    field(" ratio {}", &AdaptiveClip::ratio);
    field(" floor {}", &AdaptiveClip::floor);
  }
  template <class As>
  struct Operands {
    In<As, float> parameter;
    InOut<As, float> gradient;
  };
};

/// Folds subtrees [merges.size()] of `count` values (f64 or f32), `stride` values apart, into
/// `left`, whose entries are `count` values apart. Pushes subtree i onto a stack, then merges the
/// top two slots merges[i] times (FoldPlan in comm/tree.h): adds them, or takes the maximum.
struct TreeFold {
  int samples = 1;
  std::vector<int> merges;
  std::size_t count = 0, stride = 0;
  bool maximum = false;
  bool doubles = true;
  int left() const {
    int subtrees = 0;
    for (const int m : merges) subtrees += 1 - m;
    return subtrees;
  }

  static constexpr const char* kName = "tree fold";
  template <class Visit>
  static constexpr void fields(const Visit& field) {
    field("largest", &TreeFold::maximum, "sum");
    field(" f64", &TreeFold::doubles, " f32");
    field(" of {}", &TreeFold::count);
    field(" {} apart", &TreeFold::stride);
    field(", merges {}", &TreeFold::merges);
  }
  template <class As>
  struct Operands {
    In<As, Opaque> subtrees;
    Out<As, Opaque> left;
  };
};

}  // namespace syncnorm
