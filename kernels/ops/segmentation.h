// The loss of networks that classify every pixel, and the predictions of all classifiers.
//
// Logits are [samples, pixels, classes], channels last. A mask is u8 [samples, pixels]: the class
// of each pixel; a value of `classes` or more is an ignored pixel, without loss and gradient.
#pragma once

#include <vector>

#include "kernels/ops/field.h"
#include "kernels/ops/operand.h"
#include "kernels/ops/storage.h"

namespace syncnorm {

/// counts f64 [classes]: the pixels of each class.
struct PixelCounts {
  int samples = 1;
  int pixels = 0, classes = 0;

  static constexpr const char* kName = "pixel counts";
  template <class Visit>
  static constexpr void fields(const Visit& field) {
    field("{}", &PixelCounts::pixels);
    field("x{}", &PixelCounts::classes);
  }
  template <class As>
  struct Operands {
    In<As, std::uint8_t> mask;
    Out<As, double> counts;
  };
};

/// sums f64 [2, classes]: Σ p over the pixels of the class, and Σ p over all counted pixels, where
/// p is the softmax of the logits.
struct DiceSums {
  int samples = 1;
  int pixels = 0, classes = 0;
  Storage storage = Storage::f32;

  static constexpr const char* kName = "dice sums";
  template <class Visit>
  static constexpr void fields(const Visit& field) {
    field("{}", &DiceSums::pixels);
    field("x{}", &DiceSums::classes);
  }
  template <class As>
  struct Operands {
    In<As, Stored> logits;
    In<As, std::uint8_t> mask;
    Out<As, double> sums;
  };
};

/// Softmax cross-entropy per pixel, and the Dice loss. totals f64 [5]: Σ loss, pixels predicted
/// correctly, the state's vote, counted pixels, Σ w, where w is the weight of a pixel's class:
/// Σ loss / Σ w is the mean of PyTorch's CrossEntropyLoss(weight, ignore_index, label_smoothing).
///
/// `counts` and `dice` are the counts and Dice sums of all pixels of the global batch. Only with
/// `counts` is there a gradient, that of the mean over the global batch; where no pixel counts it
/// is 0. With `dice_weight` > 0 and `dice`, the loss of every pixel contains dice_weight·D:
///   D = mean over classes of 1 − (2·Σ p·t + ε)/(Σ p + Σ t + ε), ε = 1e-5, t = 1 in the class's
///   pixels
/// (Milletari et al. 2016 in the form of MONAI's DiceLoss over a batch).
struct PixelLoss {
  int samples = 1;
  int pixels = 0, classes = 0;
  double label_smoothing = 0.0;
  double dice_weight = 0.0;
  std::vector<double> class_weights = {};  // [classes]; empty: all 1
  Storage storage = Storage::f32;

  static constexpr const char* kName = "pixel loss";
  template <class Visit>
  static constexpr void fields(const Visit& field) {
    field("{}", &PixelLoss::pixels);
    field("x{}", &PixelLoss::classes);
    field(" smoothing {}", &PixelLoss::label_smoothing);
    field(" dice {}", &PixelLoss::dice_weight);
    field(" weights [{}]", &PixelLoss::class_weights);
  }
  template <class As>
  struct Operands {
    In<As, Stored> logits;
    In<As, std::uint8_t> mask;
    OptionalIn<As, double> counts, dice;
    Out<As, double> totals;
    OptionalOut<As, Stored> dlogits;
  };
};

/// predictions i32 [samples, pixels]: the class of the largest logit, the first of equals.
struct Predict {
  int samples = 1;
  int pixels = 1, classes = 0;
  Storage storage = Storage::f32;

  static constexpr const char* kName = "predict";
  template <class Visit>
  static constexpr void fields(const Visit& field) {
    field("{}", &Predict::pixels);
    field("x{}", &Predict::classes);
  }
  template <class As>
  struct Operands {
    In<As, Stored> logits;
    Out<As, std::int32_t> predictions;
  };
};

}  // namespace syncnorm
