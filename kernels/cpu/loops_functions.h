// The passes over memory of pointwise norms; see loops.h for what they compute and vectors.h for
// how this file is compiled.
#pragma once

#include "kernels/cpu/loops.h"
#include "kernels/cpu/loops_norm.h"
#include "kernels/cpu/vector_functions.h"

namespace syncnorm::cpu {
namespace {

template <PointwiseFunction kFunction, int L>
inline F<L> value_of(F<L> z) {
  if constexpr (kFunction == PointwiseFunction::tanh)
    return tanh_of<L>(z);
  else
    return erf_of<L>(z);
}

/// df/dz at z, where f is the value.
template <PointwiseFunction kFunction, int L>
inline F<L> slope_of(F<L> z, F<L> f) {
  constexpr float kTwoInverseSqrtPi = 1.1283791670955126f;
  if constexpr (kFunction == PointwiseFunction::tanh)
    return 1.0f - f * f;
  else
    return exp_of_negative<L>(-(z * z)) * kTwoInverseSqrtPi;
}

template <int L, class S>
struct PointwiseNorm {
  static void run(const PointwiseNormArgs<S>& a) {
    if (a.function == PointwiseFunction::tanh)
      rows<PointwiseFunction::tanh>(a);
    else
      rows<PointwiseFunction::erf>(a);
  }
  static void gradient(const PointwiseNormGradientArgs<S>& a) {
    if (a.function == PointwiseFunction::tanh)
      gradient_rows<PointwiseFunction::tanh>(a);
    else
      gradient_rows<PointwiseFunction::erf>(a);
  }

 private:
  template <PointwiseFunction kFunction>
  static void rows(const PointwiseNormArgs<S>& args) {
    const PointwiseNormArgs<S> a = args;  // a copy: a store to y might alias `args`
    const size_t step = static_cast<size_t>(a.channels);
    for (size_t row = 0; row < a.rows; ++row)
      for_each_column<L>(a.channels, [&]<int W>(int c) {
        const size_t i = row * step + static_cast<size_t>(c);
        const F<W> f = value_of<kFunction, W>(get<W>(a.x + i) * a.alpha + a.shift);
        F<W> y = f * load<F<W>>(a.gamma + c) + load<F<W>>(a.beta + c);
        if (a.residual != nullptr) y += get<W>(a.residual + i);
        if (a.relu) y = F<W>{} > y ? F<W>{} : y;  // a nan stays a nan
        put<W>(a.y + i, y);
      });
  }

  template <PointwiseFunction kFunction>
  static void gradient_rows(const PointwiseNormGradientArgs<S>& args) {
    const PointwiseNormGradientArgs<S> a = args;
    const size_t step = static_cast<size_t>(a.channels);
    for (size_t row = 0; row < a.rows; ++row)
      for_each_column<L>(a.channels, [&]<int W>(int c) {
        const size_t i = row * step + static_cast<size_t>(c);
        const F<W> gamma = load<F<W>>(a.gamma + c), x = get<W>(a.x + i);
        const F<W> z = x * a.alpha + a.shift, f = value_of<kFunction, W>(z);
        F<W> g = get<W>(a.dy + i);
        if (a.dy2 != nullptr) g += get<W>(a.dy2 + i);
        if (a.relu)
          g = keep_positive<W>(
              g, a.y != nullptr ? get<W>(a.y + i) : f * gamma + load<F<W>>(a.beta + c));
        if (a.g != nullptr) {
          g = as_stored<S, W>(g);
          put<W>(a.g + i, g);
        }
        const F<W> d = g * slope_of<kFunction, W>(z, f);
        store(a.table_g + i, g);
        store(a.table_f + i, f);
        store(a.table_d + i, d);
        store(a.table_x + i, x);
        put<W>(a.dx + i, gamma * a.alpha * d);
      });
  }
};

}  // namespace
}  // namespace syncnorm::cpu
