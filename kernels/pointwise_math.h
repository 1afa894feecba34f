// Formulas of pointwise operations, for host and device code: activations, their slopes, pointwise
// norms, dropout, noise, softmax cross-entropy of one class, and Adam's update of one value.
#pragma once

#include <cmath>
#include <cstddef>
#include <cstdint>

#include "base/host_device.h"
#include "base/philox.h"
#include "kernels/ops.h"

namespace syncnorm {

constexpr float kSeluScale = 1.0507009873554805f;  // Klambauer et al. 2017
constexpr float kSeluAlpha = 1.6732632423543772f;
constexpr double kAlphaPrime = -1.7580993408473766;  // SELU at −∞: −kSeluScale·kSeluAlpha
constexpr float kInverseSqrt2 = 0.70710678118654752f;
constexpr float kInverseSqrt2Pi = 0.39894228040143268f;
constexpr float kTwoInverseSqrtPi = 1.1283791670955126f;

SYNCNORM_HOST_DEVICE inline float activate(Activation kind, float x) {
  switch (kind) {
    case Activation::relu:
      return x > 0.0f ? x : (x <= 0.0f ? 0.0f : x);  // a nan stays a nan
    case Activation::sigmoid:
      return 1.0f / (1.0f + std::exp(-x));
    case Activation::tanh:
      return std::tanh(x);
    case Activation::elu:
      return x > 0.0f ? x : std::expm1(x);
    case Activation::selu:
      return kSeluScale * (x > 0.0f ? x : kSeluAlpha * std::expm1(x));
    case Activation::gelu:
      return 0.5f * x * (1.0f + std::erf(x * kInverseSqrt2));
    case Activation::silu:
      return x / (1.0f + std::exp(-x));
    case Activation::hard_swish:
      return x <= -3.0f ? 0.0f : (x >= 3.0f ? x : x * (x + 3.0f) * (1.0f / 6.0f));
  }
  return x;
}

/// dy/dx from y, for the activations that slope_from_x() does not name.
SYNCNORM_HOST_DEVICE inline float slope_from_output(Activation kind, float y) {
  switch (kind) {
    case Activation::relu:
      return y > 0.0f ? 1.0f : 0.0f;
    case Activation::sigmoid:
      return y * (1.0f - y);
    case Activation::tanh:
      return 1.0f - y * y;
    case Activation::elu:
      return y > 0.0f ? 1.0f : y + 1.0f;
    case Activation::selu:
      return y > 0.0f ? kSeluScale : y + kSeluScale * kSeluAlpha;
    case Activation::gelu:
    case Activation::silu:
    case Activation::hard_swish:
      break;
  }
  return 1.0f;
}

/// dy/dx from x, for those. At hard-swish's corners it is PyTorch's.
SYNCNORM_HOST_DEVICE inline float slope_from_input(Activation kind, float x) {
  if (kind == Activation::gelu)
    return 0.5f * (1.0f + std::erf(x * kInverseSqrt2)) +
           x * kInverseSqrt2Pi * std::exp(-0.5f * x * x);
  if (kind == Activation::hard_swish)
    return x < -3.0f ? 0.0f : (x <= 3.0f ? x * (1.0f / 3.0f) + 0.5f : 1.0f);
  const float s = 1.0f / (1.0f + std::exp(-x));
  return s + x * s * (1.0f - s);
}

/// One channel of a pointwise norm. Forward and backward call the same functions, so that a
/// recomputed ReLU mask equals the forward pass's.
struct PointwiseNormLine {
  float alpha, shift, gamma, beta;

  SYNCNORM_HOST_DEVICE float inner(float x) const { return alpha * x + shift; }
  SYNCNORM_HOST_DEVICE float outer(float f) const { return gamma * f + beta; }
};

/// From the operands of a kernel.
template <class Operands>
SYNCNORM_HOST_DEVICE inline PointwiseNormLine pointwise_norm_line(const Operands& a,
                                                                  std::size_t c) {
  return {a.alpha[0], a.shift != nullptr ? a.shift[0] : 0.0f,
          a.gamma != nullptr ? a.gamma[c] : 1.0f, a.beta != nullptr ? a.beta[c] : 0.0f};
}

SYNCNORM_HOST_DEVICE inline float pointwise_value(PointwiseFunction function, float z) {
  return function == PointwiseFunction::tanh ? std::tanh(z) : std::erf(z);
}

/// df/dz at z, where f is the value.
SYNCNORM_HOST_DEVICE inline float pointwise_slope(PointwiseFunction function, float z, float f) {
  return function == PointwiseFunction::tanh ? 1.0f - f * f : kTwoInverseSqrtPi * std::exp(-z * z);
}

/// Dropout of one value: scale·x + shift where it is kept, else `dropped`.
struct DropoutLine {
  float scale, shift, dropped;
};

inline DropoutLine dropout_line(const Dropout& op) {
  // Adding −0 leaves every value unchanged; +0 would change −0.
  if (!op.alpha) return {static_cast<float>(1.0 / (1.0 - op.p)), -0.0f, 0.0f};
  // Klambauer et al. 2017: an affine map restores the mean and variance that setting a share p of
  // the values to α' has changed.
  const double a = 1.0 / std::sqrt((1.0 - op.p) * (1.0 + op.p * kAlphaPrime * kAlphaPrime));
  if (op.backward) return {static_cast<float>(a), -0.0f, 0.0f};
  const double b = -a * kAlphaPrime * op.p;
  return {static_cast<float>(a), static_cast<float>(b), static_cast<float>(a * kAlphaPrime + b)};
}

/// The index of a sample in the random key of a dropout layer; the layer is in the upper half.
SYNCNORM_HOST_DEVICE inline std::uint64_t dropout_index(const Dropout& op, std::uint32_t sample) {
  return (static_cast<std::uint64_t>(op.layer) << 32) | sample;
}

/// The value that MakeImages writes at channel c of pixel (y, x) of one image.
SYNCNORM_HOST_DEVICE inline float image_value(const MakeImages& op, const ImageMap& map,
                                              const std::uint8_t* stored, const float* table, int y,
                                              int x, int c) {
  const bool cut = y >= map.cut_rows_begin && y < map.cut_rows_end && x >= map.cut_columns_begin &&
                   x < map.cut_columns_end;
  if (map.used == 0 || cut) return 0.0f;
  const bool shown =
      y >= map.rows_begin && y < map.rows_end && x >= map.columns_begin && x < map.columns_end;
  const int from =
      shown ? ((y + map.source_y) * op.width + map.direction_x * x + map.source_x) * op.channels + c
            : 0;
  return table[256 * c + (shown ? stored[from] : 0)];
}

/// Noise on the values of one sample in one channel: scale·x + shift.
struct NoiseLine {
  float scale, shift;
};

/// The expectation of the noise.
inline NoiseLine expected_noise(const NormNoise& op) {
  return {static_cast<float>(0.5 * (1.0 + op.scale)), -0.0f};
}

SYNCNORM_HOST_DEVICE inline NoiseLine noise_line(const NormNoise& op, std::uint64_t seed,
                                                 std::uint64_t step, std::uint32_t sample,
                                                 int channel) {
  const auto key = static_cast<std::uint64_t>(op.layer) << 32;
  const auto block = static_cast<std::uint32_t>(channel);  // the channel's block in both streams
  RandomStream of_channel(seed, RandomPurpose::norm_noise, step, key);
  of_channel.seek(block);
  const double mean = op.mean * (2.0 * of_channel.uniform() - 1.0);
  const double scale = 1.0 + (op.scale - 1.0) * of_channel.uniform();
  RandomStream of_sample(seed, RandomPurpose::norm_sample_noise, step, key | sample);
  of_sample.seek(block);
  const double shift = mean + op.sample_mean * (2.0 * of_sample.uniform() - 1.0);
  const double factor = scale + op.sample_scale * of_sample.normal();
  return {static_cast<float>(factor), op.backward ? -0.0f : static_cast<float>(shift)};
}

/// The target distribution puts 1 − ε + ε/K on the label and ε/K on every other class (PyTorch's
/// label_smoothing; Szegedy et al. 2016). `log_total` is log Σ exp(logit).
SYNCNORM_HOST_DEVICE inline float logit_gradient(const SoftmaxCrossEntropy& op, float logit,
                                                 double log_total, bool is_label) {
  const double target =
      (is_label ? 1.0 - op.label_smoothing : 0.0) + op.label_smoothing / op.classes;
  return static_cast<float>(op.gradient_scale * (std::exp(logit - log_total) - target));
}

SYNCNORM_HOST_DEVICE inline double cross_entropy(const SoftmaxCrossEntropy& op, double log_total,
                                                 float label_logit, double sum_logits) {
  const double share = op.label_smoothing / op.classes;
  return (1.0 - op.label_smoothing) * (log_total - label_logit) +
         share * (op.classes * log_total - sum_logits);
}

/// `step` counts the updates before this one.
SYNCNORM_HOST_DEVICE inline bool averages_now(const ExponentialAverage& op, std::uint64_t step) {
  return (step + 1) % static_cast<std::uint64_t>(op.every) == 0;
}

/// The constants of one Adam update (Kingma & Ba 2015; Loshchilov & Hutter 2019 when decoupled).
struct AdamConstants {
  float beta1, beta2, share1, share2, rate, root, eps, coupled, shrink, gradient_scale;
};

/// `step` counts the updates before this one.
SYNCNORM_HOST_DEVICE inline AdamConstants adam_constants(const AdamUpdate& op, std::uint64_t step,
                                                         float lr, float gradient_scale) {
  const double t = static_cast<double>(step) + 1.0;  // bias correction
  return {static_cast<float>(op.beta1), static_cast<float>(op.beta2),
          // Rounded after the subtraction: 1 − 0.999f would have a relative error of 1.3e-5.
          static_cast<float>(1.0 - op.beta1), static_cast<float>(1.0 - op.beta2),
          static_cast<float>(lr / (1.0 - std::pow(op.beta1, t))),
          static_cast<float>(1.0 / std::sqrt(1.0 - std::pow(op.beta2, t))),
          static_cast<float>(op.eps), op.decoupled ? 0.0f : static_cast<float>(op.weight_decay),
          op.decoupled ? static_cast<float>(1.0 - static_cast<double>(lr) * op.weight_decay) : 1.0f,
          gradient_scale};
}

/// Computes the new factor of GradientFactor.
SYNCNORM_HOST_DEVICE inline float gradient_factor(double clip_norm, double squares, double loss,
                                                  float factor) {
  const double norm = std::sqrt(squares);
  if (std::isnan(factor) || !std::isfinite(norm) || !std::isfinite(loss)) return NAN;
  if (clip_norm <= 0.0 || norm <= clip_norm) return 1.0f;
  return static_cast<float>(clip_norm / (norm + 1e-6));
}

/// The factor of one row of AdaptiveClip, from Σ parameter² and Σ gradient². A nan stays a nan.
SYNCNORM_HOST_DEVICE inline float adaptive_clip_factor(const AdaptiveClip& op,
                                                       double parameter_squares,
                                                       double gradient_squares) {
  const double norm = std::sqrt(gradient_squares), own = std::sqrt(parameter_squares);
  const double largest = op.ratio * (own > op.floor ? own : op.floor);
  if (norm < largest) return 1.0f;
  return static_cast<float>(largest / (norm > 1e-6 ? norm : 1e-6));
}

SYNCNORM_HOST_DEVICE inline void adam_value(const AdamConstants& k, float gradient, float& p,
                                            float& m, float& v) {
  const float g = gradient * k.gradient_scale + k.coupled * p;
  m = k.beta1 * m + k.share1 * g;
  v = k.beta2 * v + k.share2 * g * g;
  p = p * k.shrink - k.rate * m / (std::sqrt(v) * k.root + k.eps);
}

}  // namespace syncnorm
