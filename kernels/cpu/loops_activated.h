// The passes over memory of norms that contain their activation; see loops.h for what they compute
// and vectors.h for how this file is compiled.
#pragma once

#include "kernels/cpu/loops_norm.h"
#include "kernels/cpu/vector_functions.h"

namespace syncnorm::cpu {
namespace {

/// The activations of W columns. None: a threshold operation without thresholds.
enum class Inner { none, threshold, swish };

template <Inner kInner, int W>
struct ActivatedLine {
  F<W> scale, beta, slope{};

  template <class Args>
  ActivatedLine(const Args& a, int c)
      : scale(load<F<W>>(a.scale + c)), beta(load<F<W>>(a.beta + c)) {
    if constexpr (kInner != Inner::none) slope = load<F<W>>(a.slope + c);
  }

  /// The norm's output before any residual.
  F<W> value(F<W> x) const {
    if constexpr (kInner == Inner::swish) {
      return x * Sigmoid<W>(slope * x).value * scale + beta;
    } else {
      const F<W> z = x * scale + beta;
      if constexpr (kInner == Inner::threshold) return slope > z ? slope : z;  // a nan stays a nan
      return z;
    }
  }
  /// `value` where the threshold lets x through, else 0; and the reverse.
  F<W> through(F<W> value, F<W> x) const {
    if constexpr (kInner == Inner::threshold) return x * scale + beta > slope ? value : F<W>{};
    return value;
  }
  F<W> held_back(F<W> value, F<W> x) const {
    if constexpr (kInner == Inner::threshold) return x * scale + beta > slope ? F<W>{} : value;
    return F<W>{};
  }
};

/// Calls body<kInner>() for the activation of the arguments.
template <class Args, class Body>
inline void with_inner(const Args& a, const Body& body) {
  if (a.activation == NormActivation::swish)
    body.template operator()<Inner::swish>();
  else if (a.slope != nullptr)
    body.template operator()<Inner::threshold>();
  else
    body.template operator()<Inner::none>();
}

template <int L, class S>
struct ActivatedNorm {
  static void run(const ActivatedNormArgs<S>& args) {
    const ActivatedNormArgs<S> a = args;  // a copy: a store to y might alias `args`
    with_inner(a, [&]<Inner kInner>() { rows<kInner>(a); });
  }

 private:
  template <Inner kInner>
  static void rows(const ActivatedNormArgs<S>& a) {
    const size_t step = static_cast<size_t>(a.channels);
    for_each_row_group(a.rows, rows_in_turns(a.rows, a.channels), [&]<int R>(size_t r) {
      for_each_column<L>(a.channels, [&]<int W>(int c) {
        const ActivatedLine<kInner, W> line(a, c);
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
struct ActivatedNormGradient {
  static void sums(const ActivatedNormGradientArgs<S>& args) {
    const ActivatedNormGradientArgs<S> a = args;  // a copy, as in ActivatedNorm
    with_inner(a, [&]<Inner kInner>() { add_sums<kInner>(a); });
  }
  static void input(const ActivatedNormGradientArgs<S>& args) {
    const ActivatedNormGradientArgs<S> a = args;
    with_inner(a, [&]<Inner kInner>() { input_rows<kInner>(a); });
  }

 private:
  template <Inner kInner, int W>
  static F<W> masked(const ActivatedNormGradientArgs<S>& a, const ActivatedLine<kInner, W>& line,
                     F<W> x, size_t i) {
    F<W> g = get<W>(a.dy + i);
    if (a.dy2 != nullptr) g += get<W>(a.dy2 + i);
    if (a.relu) g = keep_positive<W>(g, a.y != nullptr ? get<W>(a.y + i) : line.value(x));
    return g;
  }

  template <Inner kInner>
  static void add_sums(const ActivatedNormGradientArgs<S>& a) {
    const size_t block = block_rows(a.channels), step = static_cast<size_t>(a.channels);
    const bool in_turns = rows_in_turns(a.rows, a.channels);
    for (size_t begin = 0; begin < a.rows; begin += block) {
      const size_t n = a.rows - begin < block ? a.rows - begin : block;
      for (size_t c = 0; c < 3 * step; ++c) a.scratch[c] = 0.0f;
      for_each_row_group(n, in_turns, [&]<int R>(size_t r) { add_rows<kInner, R>(a, begin + r); });
      for (size_t c = 0; c < 3 * step; ++c) a.sums[c] += a.scratch[c];
    }
  }

  /// Adds R rows to the block's sums.
  template <Inner kInner, int R>
  static void add_rows(const ActivatedNormGradientArgs<S>& a, size_t r) {
    const size_t step = static_cast<size_t>(a.channels);
    for_each_column<L>(a.channels, [&]<int W>(int c) {
      const ActivatedLine<kInner, W> line(a, c);
      // One product per addition: of two, either may be fused with it, and bits would be chance.
      F<W> sums[3];
      for (size_t k = 0; k < 3; ++k) sums[k] = load<F<W>>(a.scratch + k * step + c);
      for (int u = 0; u < R; ++u) {
        const size_t i = (r + static_cast<size_t>(u)) * step + static_cast<size_t>(c);
        const F<W> x = get<W>(a.x + i);
        F<W> g = masked<kInner, W>(a, line, x, i);
        if (a.g != nullptr) {
          g = as_stored<S, W>(g);  // sum what the input gradient will read
          put<W>(a.g + i, g);
        }
        if constexpr (kInner == Inner::swish) {
          const Sigmoid<W> s(line.slope * x);
          const F<W> swish = x * s.value;
          sums[0] += g;
          sums[1] += g * swish;
          sums[2] += g * (x * swish * s.rest);
        } else {
          const F<W> through = line.through(g, x);
          sums[0] += through;
          sums[1] += through * x;
          sums[2] += line.held_back(g, x);
        }
      }
      for (size_t k = 0; k < 3; ++k) store(a.scratch + k * step + c, sums[k]);
    });
  }

  template <Inner kInner>
  static void input_rows(const ActivatedNormGradientArgs<S>& a) {
    const size_t step = static_cast<size_t>(a.channels);
    for_each_row_group(a.rows, rows_in_turns(a.rows, a.channels), [&]<int R>(size_t r) {
      for_each_column<L>(a.channels, [&]<int W>(int c) {
        const ActivatedLine<kInner, W> line(a, c);
        const F<W> mean = load<F<W>>(a.mean + c), scale = load<F<W>>(a.a + c);
        const F<W> factor = load<F<W>>(a.b + c), shift = load<F<W>>(a.d + c);
        for (int u = 0; u < R; ++u) {
          const size_t i = (r + static_cast<size_t>(u)) * step + static_cast<size_t>(c);
          const F<W> x = get<W>(a.x + i);
          F<W> g = masked<kInner, W>(a, line, x, i);
          if constexpr (kInner == Inner::swish) {
            const Sigmoid<W> s(line.slope * x);
            g *= s.value + line.slope * (x * s.value * s.rest);
          } else {
            g = line.through(g, x);
          }
          put<W>(a.dx + i, scale * g + (factor * (x - mean) + shift));
        }
      });
    });
  }
};

}  // namespace
}  // namespace syncnorm::cpu
