// What follows the backward pass: the gradient's norm, updates of the parameters, and the sums of a
// reduction's tree. Updates are of `count` consecutive values; rate and step come from StepState.
// The gradient is multiplied by factor f32 [1] (1 without); where that is nan, nothing is changed.
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

/// factor f32 [1] from Σ gradient² f64 [1] and loss f64 [1]: 1, or what clips the gradient's 2-norm
/// to `clip_norm` (0: none), as torch.nn.utils.clip_grad_norm_ does. It becomes nan where the norm
/// or the loss is not finite, and then stays nan until somebody sets it: no update is applied.
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

/// subtrees [merges.size()] of `count` values (f64, or f32), `stride` values apart -> what is left
/// of them, `count` values apart. Node i is put on a stack, and then the topmost two places are
/// merged merges[i] times (FoldPlan in comm/tree.h): added, or the larger one taken.
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
