// Fully connected layers, and reparametrized weights.
#pragma once

#include "kernels/ops/field.h"
#include "kernels/ops/operand.h"

namespace syncnorm {

/// x [samples, in], weight [out, in], y [samples, out]; all f32.
struct LinearForward {
  int samples = 1;
  int in = 0, out = 0;

  static constexpr const char* kName = "linear";
  template <class Visit>
  static constexpr void fields(const Visit& field) {
    field("{}", &LinearForward::in);
    field(" -> {}", &LinearForward::out);
  }
  template <class As>
  struct Operands {
    In<As, float> x, weight;
    OptionalIn<As, float> bias;
    Out<As, float> y;
  };
};

struct LinearDgrad {
  int samples = 1;
  int in = 0, out = 0;

  static constexpr const char* kName = "linear dgrad";
  template <class Visit>
  static constexpr void fields(const Visit& field) {
    field("{}", &LinearDgrad::in);
    field(" <- {}", &LinearDgrad::out);
  }
  template <class As>
  struct Operands {
    In<As, float> dy, weight;
    Out<As, float> dx;
  };
};

/// dweight [out, in].
struct LinearWgrad {
  int samples = 1;
  int in = 0, out = 0;

  static constexpr const char* kName = "linear wgrad";
  template <class Visit>
  static constexpr void fields(const Visit& field) {
    field("{}", &LinearWgrad::out);
    field(" x {}", &LinearWgrad::in);
  }
  template <class As>
  struct Operands {
    In<As, float> x, dy;
    Out<As, float> dweight;
    OptionalOut<As, float> dbias;
  };
};

/// How a weight follows from its parameters.
enum class WeightForm { normalized, standardized, scaled, centered };

/// Computes a weight from its parameters, with one row per output of a conv or linear layer. Weight
/// normalization (Salimans & Kingma 2016): w = g·v/‖v‖, scale = 1/‖v‖. Weight standardization (Qiao
/// et al. 2019): w = (v − mean)·scale, scale = 1/√(var + eps), biased variance. Scaled weight
/// standardization (Brock et al. 2021): w = factor·g·(v − mean)·scale, scale = 1/√max(Σ(v − mean)²,
/// eps). Centered weights (Yan et al. 2020): w = v − mean, scale = 1. v and w [outputs, inputs]; g,
/// mean and scale [outputs].
struct WeightNormalize {
  int samples = 1;
  int outputs = 0, inputs = 0;
  WeightForm form = WeightForm::normalized;
  double eps = 1e-5, factor = 1.0;

  static constexpr const char* kName = "weight norm";
  template <class Visit>
  static constexpr void fields(const Visit& field) {
    field("{}", &WeightNormalize::outputs);
    field(" x {}", &WeightNormalize::inputs);
    field(" {}", &WeightNormalize::form);
    field(" eps {}", &WeightNormalize::eps);
    field(" factor {}", &WeightNormalize::factor);
  }
  template <class As>
  struct Operands {
    In<As, float> v;
    OptionalIn<As, float> g;
    Out<As, float> w;
    OptionalOut<As, double> mean;
    Out<As, double> scale;
  };
};

struct WeightNormalizeBackward {
  int samples = 1;
  int outputs = 0, inputs = 0;
  WeightForm form = WeightForm::normalized;
  double eps = 1e-5, factor = 1.0;

  static constexpr const char* kName = "weight norm backward";
  template <class Visit>
  static constexpr void fields(const Visit& field) {
    field("{}", &WeightNormalizeBackward::outputs);
    field(" x {}", &WeightNormalizeBackward::inputs);
    field(" {}", &WeightNormalizeBackward::form);
    field(" eps {}", &WeightNormalizeBackward::eps);
    field(" factor {}", &WeightNormalizeBackward::factor);
  }
  template <class As>
  struct Operands {
    In<As, float> dw, v;
    OptionalIn<As, float> g;
    OptionalIn<As, double> mean;
    In<As, double> scale;
    Out<As, float> dv;
    OptionalOut<As, float> dg;
  };
};

}  // namespace syncnorm
