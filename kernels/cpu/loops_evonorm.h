// The passes over memory of EvoNorm-B0; see loops.h for what they compute and vectors.h for how
// this file is compiled.
#pragma once

#include "kernels/cpu/loops_norm.h"

namespace syncnorm::cpu {
namespace {

/// W columns of one sample.
template <int W>
struct EvoNormLine {
  F<W> gamma, beta, slope, of_batch, of_sample;

  EvoNormLine(const EvoNormVectors& v, int c)
      : gamma(load<F<W>>(v.gamma + c)),
        beta(load<F<W>>(v.beta + c)),
        slope(load<F<W>>(v.slope + c)),
        of_batch(load<F<W>>(v.of_batch + c)),
        of_sample(load<F<W>>(v.of_sample + c)) {}

  /// The sample's deviation, which counts where it is above the batch's. One multiplication and
  /// one addition: all passes must take the same side.
  F<W> own(F<W> x) const { return slope * x + of_sample; }
  F<W> value(F<W> x) const {
    const F<W> own_deviation = own(x);
    // A nan in x reaches the quotient.
    return gamma * (x / (own_deviation > of_batch ? own_deviation : of_batch)) + beta;
  }
};

template <int L, class S>
struct EvoNorm {
  static void run(const EvoNormArgs<S>& args) {
    const EvoNormArgs<S> a = args;  // a copy: a store to y might alias `args`
    const size_t step = static_cast<size_t>(a.channels);
    for_each_row_group(a.rows, rows_in_turns(a.rows, a.channels), [&]<int R>(size_t r) {
      for_each_column<L>(a.channels, [&]<int W>(int c) {
        const EvoNormLine<W> line(a.vectors, c);
        for (int u = 0; u < R; ++u) {
          const size_t i = (r + static_cast<size_t>(u)) * step + static_cast<size_t>(c);
          F<W> y = line.value(get<W>(a.x + i));
          if (a.residual != nullptr) y += get<W>(a.residual + i);
          if (a.relu) y = F<W>{} > y ? F<W>{} : y;  // a nan stays a nan
          put<W>(a.y + i, y);
        }
      });
    });
  }
};

template <int L, class S>
struct EvoNormGradient {
  static void sums(const EvoNormGradientArgs<S>& args) {
    const EvoNormGradientArgs<S> a = args;  // a copy, as in EvoNorm
    const size_t block = block_rows(a.channels), step = static_cast<size_t>(a.channels);
    const bool in_turns = rows_in_turns(a.rows, a.channels);
    for (size_t begin = 0; begin < a.rows; begin += block) {
      const size_t n = a.rows - begin < block ? a.rows - begin : block;
      for (size_t c = 0; c < 5 * step; ++c) a.scratch[c] = 0.0f;
      for_each_row_group(n, in_turns, [&]<int R>(size_t r) { add_rows<R>(a, begin + r); });
      for (size_t c = 0; c < 5 * step; ++c) a.sums[c] += a.scratch[c];
    }
  }

  static void input(const EvoNormGradientArgs<S>& args) {
    const EvoNormGradientArgs<S> a = args;
    const size_t step = static_cast<size_t>(a.channels);
    for_each_row_group(a.rows, rows_in_turns(a.rows, a.channels), [&]<int R>(size_t r) {
      for_each_column<L>(a.channels, [&]<int W>(int c) {
        const EvoNormLine<W> line(a.vectors, c);
        const F<W> mean = load<F<W>>(a.mean + c), factor = load<F<W>>(a.b + c);
        const F<W> shift = load<F<W>>(a.d + c), one = F<W>{} + 1.0f;
        for (int u = 0; u < R; ++u) {
          const size_t i = (r + static_cast<size_t>(u)) * step + static_cast<size_t>(c);
          const F<W> x = get<W>(a.x + i), own = line.own(x);
          const auto of_sample = own > line.of_batch;
          const F<W> inverse = one / (of_sample ? own : line.of_batch);
          const F<W> along = of_sample ? line.slope * (x * inverse) : F<W>{};
          const F<W> g = line.gamma * masked<W>(a, line, x, i);
          put<W>(a.dx + i, g * (inverse - along * inverse) + (factor * (x - mean) + shift));
        }
      });
    });
  }

 private:
  template <int W>
  static F<W> masked(const EvoNormGradientArgs<S>& a, const EvoNormLine<W>& line, F<W> x,
                     size_t i) {
    F<W> g = get<W>(a.dy + i);
    if (a.dy2 != nullptr) g += get<W>(a.dy2 + i);
    if (a.relu) g = keep_positive<W>(g, a.y != nullptr ? get<W>(a.y + i) : line.value(x));
    return g;
  }

  /// Adds R rows to the block's sums.
  template <int R>
  static void add_rows(const EvoNormGradientArgs<S>& a, size_t r) {
    const size_t step = static_cast<size_t>(a.channels);
    for_each_column<L>(a.channels, [&]<int W>(int c) {
      const EvoNormLine<W> line(a.vectors, c);
      const F<W> one = F<W>{} + 1.0f;
      F<W> sums[5];
      for (size_t k = 0; k < 5; ++k) sums[k] = load<F<W>>(a.scratch + k * step + c);
      for (int u = 0; u < R; ++u) {
        const size_t i = (r + static_cast<size_t>(u)) * step + static_cast<size_t>(c);
        const F<W> x = get<W>(a.x + i);
        F<W> g = masked<W>(a, line, x, i);
        if (a.g != nullptr) {
          g = as_stored<S, W>(g);  // sum what the input gradient will read
          put<W>(a.g + i, g);
        }
        const F<W> own = line.own(x), inverse = one / own, gx = g * x;
        const auto of_sample = own > line.of_batch;
        const F<W> quotient = of_sample ? gx * inverse : F<W>{};
        const F<W> second = of_sample ? quotient * inverse : F<W>{};
        sums[0] += g;
        sums[1] += of_sample ? F<W>{} : gx;
        sums[2] += quotient;
        sums[3] += second;
        sums[4] += second * x;
      }
      for (size_t k = 0; k < 5; ++k) store(a.scratch + k * step + c, sums[k]);
    });
  }
};

}  // namespace
}  // namespace syncnorm::cpu
