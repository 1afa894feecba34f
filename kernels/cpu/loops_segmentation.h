// The softmax of pixels: their loss, its gradient, and the sums of the Dice loss; see loops.h for
// what they compute and vectors.h for how this file is compiled.
//
// A vector holds L pixels, so that every lane is in use whatever the number of classes.
#pragma once

#include "kernels/cpu/loops.h"
#include "kernels/cpu/vector_functions.h"

namespace syncnorm::cpu {
namespace {

template <int L, class S>
class PixelSoftmax {
 public:
  static size_t loss(const PixelLossArgs<S>& args) {
    const PixelLossArgs<S> a = args;  // a copy: a store might alias `args`
    PixelSoftmax pixels(a.classes);
    size_t correct = 0;
    for (size_t row = 0; row < a.rows; row += L) {
      pixels.read(a.logits, a.labels, row, a.rows);
      if (a.spread != nullptr) pixels.write_spread(a.weight, a.spread + row);
      pixels.exponentiate();
      for (int i = 0; i < pixels.lanes_; ++i) {
        const auto at = row + static_cast<size_t>(i);
        a.total[at] = pixels.total_[i];
        a.margin[at] = pixels.top_[i] - pixels.of_label_[i];
        correct += pixels.best_[i] == pixels.label_[i] ? 1 : 0;
      }
      if (a.dlogits == nullptr) continue;
      pixels.differentiate(a);
      pixels.write(a.dlogits, row);
    }
    return correct;
  }

  static void dice_sums(const S* logits, const std::uint8_t* labels, size_t rows, int classes,
                        double* sums) {
    constexpr size_t kFold = 32 * L;  // rows that are summed in f32
    PixelSoftmax pixels(classes);
    F<L> own[kMostClasses], all[kMostClasses];
    for (size_t begin = 0; begin < rows; begin += kFold) {
      for (int k = 0; k < classes; ++k) own[k] = all[k] = F<L>{};
      for (size_t row = begin; row < rows && row < begin + kFold; row += L) {
        pixels.read(logits, labels, row, rows);
        pixels.exponentiate();
        const F<L> scale = pixels.counted() ? 1.0f / pixels.total_ : F<L>{};
        for (int k = 0; k < classes; ++k) {
          const F<L> p = pixels.value_[k] * scale;
          all[k] += p;
          own[k] += pixels.is(k) ? p : F<L>{};
        }
      }
      for (int k = 0; k < classes; ++k)
        for (int i = 0; i < L; ++i) {
          sums[k] += own[k][i];
          sums[classes + k] += all[k][i];
        }
    }
  }

 private:
  using Bits = typename Vec<L>::Bits;
  static constexpr int kMostClasses = 256;

  explicit PixelSoftmax(int classes) : classes_(classes) {}

  auto is(int k) const { return label_ == Bits{} + static_cast<std::uint32_t>(k); }
  auto counted() const { return label_ < Bits{} + static_cast<std::uint32_t>(classes_); }

  /// Reads the pixels from `row` on; unused lanes are ignored pixels.
  void read(const S* logits, const std::uint8_t* labels, size_t row, size_t rows) {
    lanes_ = rows - row < L ? static_cast<int>(rows - row) : L;
    label_ = Bits{} + static_cast<std::uint32_t>(kMostClasses);
    if (lanes_ < L)
      for (int k = 0; k < classes_; ++k) value_[k] = F<L>{};
    for (int i = 0; i < lanes_; ++i) {
      const S* from = logits + (row + static_cast<size_t>(i)) * static_cast<size_t>(classes_);
      for (int k = 0; k < classes_; ++k) value_[k][i] = get<1>(from + k)[0];
      label_[i] = labels[row + static_cast<size_t>(i)];
    }
    top_ = of_label_ = value_[0];
    best_ = Bits{};
    for (int k = 1; k < classes_; ++k) {
      const F<L> z = value_[k];
      best_ = z > top_ ? Bits{} + static_cast<std::uint32_t>(k) : best_;
      top_ = z > top_ ? z : top_;
      of_label_ = is(k) ? z : of_label_;
    }
  }

  void write_spread(const float* weight, float* to) const {
    F<L> sum{};
    for (int k = 0; k < classes_; ++k) sum += (top_ - value_[k]) * weight[k];
    for (int i = 0; i < lanes_; ++i) to[i] = sum[i];
  }

  /// Makes the values exp(z − top), and adds them.
  void exponentiate() {
    total_ = F<L>{};
    for (int k = 0; k < classes_; ++k) {
      value_[k] = exp_of_negative<L>(value_[k] - top_);
      total_ += value_[k];
    }
  }

  /// Returns table[label] of every pixel, 0 for ignored ones.
  template <class Value>
  F<L> of_labels(const Value& value) const {
    F<L> result{};
    for (int i = 0; i < lanes_; ++i)
      if (label_[i] < static_cast<std::uint32_t>(classes_))
        result[i] = value(static_cast<int>(label_[i]));
    return result;
  }

  /// Makes the values the slopes of the loss in the logits.
  void differentiate(const PixelLossArgs<S>& a) {
    const F<L> zero{}, inverse = 1.0f / total_;
    const F<L> own = of_labels([&](int k) { return a.weight[k]; }) * a.own;
    const F<L> share = counted() ? zero + a.share : zero;
    F<L> dot{};  // Σ p·(slope of the Dice loss in p)
    if (a.dice != nullptr)
      for (int k = 0; k < classes_; ++k) {
        const F<L> slope = is(k) ? zero + a.dice[k].of_class : zero + a.dice[k].of_other;
        dot += value_[k] * inverse * slope;
      }
    for (int k = 0; k < classes_; ++k) {
      const F<L> p = value_[k] * inverse;
      F<L> g = pixel_slope(p, own, is(k) ? own : zero, share, a.all, a.weight[k]);
      if (a.dice != nullptr) {
        const F<L> slope = is(k) ? zero + a.dice[k].of_class : zero + a.dice[k].of_other;
        g += counted() ? p * (slope - dot) : zero;
      }
      value_[k] = g;
    }
  }

  void write(S* to, size_t row) const {
    for (int i = 0; i < lanes_; ++i) {
      S* pixel = to + (row + static_cast<size_t>(i)) * static_cast<size_t>(classes_);
      for (int k = 0; k < classes_; ++k) put<1>(pixel + k, F<1>{value_[k][i]});
    }
  }

  const int classes_;
  int lanes_ = L;             // pixels in use
  F<L> value_[kMostClasses];  // of each class
  F<L> top_{}, of_label_{};   // logits
  F<L> total_{};
  Bits label_{}, best_{};
};

}  // namespace
}  // namespace syncnorm::cpu
