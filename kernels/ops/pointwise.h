// Pointwise operations, the loss, and changes of layout.
#pragma once

#include "kernels/ops/field.h"
#include "kernels/ops/operand.h"
#include "kernels/ops/storage.h"

namespace syncnorm {

enum class Activation { relu, sigmoid, tanh, elu, selu, gelu, silu, hard_swish };

/// Returns true where dy/dx is computed from x; otherwise it is from y.
constexpr bool slope_from_x(Activation kind) {
  return kind == Activation::gelu || kind == Activation::silu || kind == Activation::hard_swish;
}

struct ActivationForward {
  int samples = 1;
  int size = 0;  // values per sample
  Activation kind = Activation::relu;
  Storage storage = Storage::f32;

  static constexpr const char* kName = "activation";
  template <class Visit>
  static constexpr void fields(const Visit& field) {
    field("{}", &ActivationForward::kind);
    field(" {}", &ActivationForward::size);
  }
  template <class As>
  struct Operands {
    In<As, Stored> x;
    Out<As, Stored> y;
  };
};

/// GELU reads x, every other activation y.
struct ActivationBackward {
  int samples = 1;
  int size = 0;
  Activation kind = Activation::relu;
  Storage storage = Storage::f32;

  static constexpr const char* kName = "activation backward";
  template <class Visit>
  static constexpr void fields(const Visit& field) {
    field("{}", &ActivationBackward::kind);
    field(" {}", &ActivationBackward::size);
  }
  template <class As>
  struct Operands {
    In<As, Stored> dy;
    OptionalIn<As, Stored> x, y;
    Out<As, Stored> dx;
  };
};

struct Add {
  int samples = 1;
  int size = 0;
  Storage storage = Storage::f32;

  static constexpr const char* kName = "add";
  template <class Visit>
  static constexpr void fields(const Visit& field) {
    field("{}", &Add::size);
  }
  template <class As>
  struct Operands {
    In<As, Stored> a, b;
    Out<As, Stored> sum;
  };
};

/// y = x·mask/(1−p). The backward pass is the same operation on dy in place of x. When `alpha`
/// (Klambauer et al. 2017): y = a·(x·mask + α'·(1−mask)) + b, which keeps mean 0 and variance 1,
/// and dx = a·mask·dy when `backward`.
struct Dropout {
  int samples = 1;
  int size = 0;
  double p = 0.5;
  int layer = 0;  // number of the layer, part of the random key
  bool alpha = false;
  bool backward = false;
  Storage storage = Storage::f32;

  static constexpr const char* kName = "dropout";
  template <class Visit>
  static constexpr void fields(const Visit& field) {
    field("{}", &Dropout::size);
    field(" p {}", &Dropout::p);
    field(" layer {}", &Dropout::layer);
    field(" alpha", &Dropout::alpha);
    field(" backward", &Dropout::backward);
  }
  template <class As>
  struct Operands {
    In<As, Stored> x;
    In<As, std::uint32_t> sample_ids;
    Out<As, Stored> y;
  };
};

/// Noise after a normalization, drawn anew in every step (Santurkar et al. 2018, appendix A), per
/// sample and channel, shared by the pixels: y = s·x + m with s ~ N(σ, sample_scale²),
/// m ~ U(μ ± sample_mean); per channel and step σ ~ U(1, scale), μ ~ U(±mean). x [samples, pixels,
/// channels]. When `backward`, dx = s·dy, with dy in place of x. When `expected`, y is the
/// expectation over the noise, and sample_ids are not read.
struct NormNoise {
  int samples = 1;
  int pixels = 1, channels = 0;
  double mean = 0.5, scale = 1.25;
  double sample_mean = 0.1, sample_scale = 0.1;
  int layer = 0;  // number of the layer, part of the random key
  bool backward = false;
  bool expected = false;
  Storage storage = Storage::f32;

  static constexpr const char* kName = "norm noise";
  template <class Visit>
  static constexpr void fields(const Visit& field) {
    field("{}", &NormNoise::pixels);
    field("x{}", &NormNoise::channels);
    field(" mean {}", &NormNoise::mean);
    field(" {}", &NormNoise::sample_mean);
    field(" scale {}", &NormNoise::scale);
    field(" {}", &NormNoise::sample_scale);
    field(" layer {}", &NormNoise::layer);
    field(" backward", &NormNoise::backward);
    field(" expected", &NormNoise::expected);
  }
  template <class As>
  struct Operands {
    In<As, Stored> x;
    OptionalIn<As, std::uint32_t> sample_ids;
    Out<As, Stored> y;
  };
};

/// x [samples, pixels, channels] -> y [samples, channels, pixels]; `inverse` reverses it.
struct ToChannelsFirst {
  int samples = 1;
  int pixels = 1, channels = 0;
  bool inverse = false;
  Storage storage = Storage::f32;

  static constexpr const char* kName = "flatten";
  template <class Visit>
  static constexpr void fields(const Visit& field) {
    field("{}", &ToChannelsFirst::pixels);
    field("x{}", &ToChannelsFirst::channels);
    field(" inverse", &ToChannelsFirst::inverse);
  }
  template <class As>
  struct Operands {
    In<As, Stored> x;
    Out<As, Stored> y;
  };
};

/// x is stored as `from`, y as the other storage.
struct Convert {
  int samples = 1;
  int size = 0;
  Storage from = Storage::f32;

  static constexpr const char* kName = "convert";
  template <class Visit>
  static constexpr void fields(const Visit& field) {
    field("{}", &Convert::size);
    field(" from {}", &Convert::from);
  }
  template <class As>
  struct Operands {
    In<As, Opaque> x;
    Out<As, Opaque> y;
  };
};

/// Maps an output pixel (y, x) of an augmented image to its source: the stored pixel (y + source_y,
/// direction_x · x + source_x) inside rows and columns, black outside, and the channel's mean in
/// the cut-out. `used` 0 makes every value 0.
struct ImageMap {
  std::int32_t source_y = 0, source_x = 0, direction_x = 1;
  std::int32_t rows_begin = 0, rows_end = 0, columns_begin = 0, columns_end = 0;
  std::int32_t cut_rows_begin = 0, cut_rows_end = 0, cut_columns_begin = 0, cut_columns_end = 0;
  std::int32_t used = 0;
};

/// stored u8 and images [samples, height, width, channels], maps [samples]; table f32
/// [channels, 256] maps each byte to its value.
struct MakeImages {
  int samples = 1;
  int height = 1, width = 1, channels = 1;
  Storage storage = Storage::f32;  // of the images

  static constexpr const char* kName = "make images";
  template <class Visit>
  static constexpr void fields(const Visit& field) {
    field("{}", &MakeImages::height);
    field("x{}", &MakeImages::width);
    field("x{}", &MakeImages::channels);
  }
  template <class As>
  struct Operands {
    In<As, std::uint8_t> stored;
    In<As, ImageMap> maps;
    In<As, float> table;
    Out<As, Stored> images;
  };
};

/// The values of a loss: Σ loss, number correct, the state's vote, number of samples (or pixels),
/// and Σ of their weights. The mean loss is the first by the last.
inline constexpr std::size_t kLossTotals = 5;

/// logits [samples, classes]; totals f64 [kLossTotals]; dlogits = gradient_scale · ∂loss/∂logits. A
/// label of -1 is an unused sample: no loss, no gradient. All weights are 1.
struct SoftmaxCrossEntropy {
  int samples = 1;
  int classes = 0;
  double label_smoothing = 0.0;
  double gradient_scale = 1.0;

  static constexpr const char* kName = "softmax cross-entropy";
  template <class Visit>
  static constexpr void fields(const Visit& field) {
    field("{}", &SoftmaxCrossEntropy::classes);
    field(" smoothing {}", &SoftmaxCrossEntropy::label_smoothing);
    field(" scale {}", &SoftmaxCrossEntropy::gradient_scale);
  }
  template <class As>
  struct Operands {
    In<As, float> logits;
    In<As, std::int32_t> labels;
    Out<As, double> totals;
    OptionalOut<As, float> dlogits;
  };
};

}  // namespace syncnorm
