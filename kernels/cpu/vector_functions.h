// Elementary functions of vectors of f32 values, in f32 alone. Each value is computed by itself
// with the same operations, so a result does not depend on its place in a vector. Included with
// vectors.h, under the same conditions.
//
// The coefficients are least-squares fits, weighted until their largest relative error is near the
// smallest possible. tests/kernels/cpu/pointwise_norm_test.cpp measures the errors: at most 3 ulp.
#pragma once

#include "kernels/cpu/vectors.h"

namespace syncnorm::cpu {
namespace {

/// c[0] + c[1]·x + c[2]·x² + …
template <int L, int N>
inline F<L> polynomial(F<L> x, const float (&c)[N]) {
  F<L> sum = F<L>{} + c[N - 1];
  for (int i = N - 2; i >= 0; --i) sum = sum * x + c[i];
  return sum;
}

template <int L>
inline F<L> magnitude(F<L> x) {
  const typename Vec<L>::Bits bits = load<typename Vec<L>::Bits>(&x) & 0x7FFFFFFFu;
  return load<F<L>>(&bits);
}

/// The magnitude of `x`, which is not negative, with the sign of `from`.
template <int L>
inline F<L> with_sign(F<L> x, F<L> from) {
  using Bits = typename Vec<L>::Bits;
  const Bits bits = load<Bits>(&x) | (load<Bits>(&from) & 0x80000000u);
  return load<F<L>>(&bits);
}

/// eˣ for x ≤ 0; 0 below −87, where results are about to be subnormal.
template <int L>
inline F<L> exp_of_negative(F<L> x) {
  using Bits = typename Vec<L>::Bits;
  constexpr float kLog2E = 1.44269504f, kLn2High = 0.693359375f, kLn2Low = -2.12194440e-4f;
  constexpr float kRounds = 12582912.0f;  // 1.5·2²³: the sum's last bit is 1, so it is an integer
  constexpr float kFit[] = {0.5f, 0.16666518f, 0.041666206f, 0.008368908f, 0.0013950522f};
  const F<L> limit = F<L>{} - 87.0f;
  const F<L> inside = x < limit ? limit : x;  // a nan stays a nan
  const F<L> shifted = inside * kLog2E + kRounds;
  const F<L> n = shifted - kRounds;
  const F<L> r = (inside - n * kLn2High) - n * kLn2Low;
  const F<L> fraction = polynomial<L>(r, kFit) * (r * r) + r + 1.0f;
  const Bits power = (load<Bits>(&shifted) << 23) + 0x3F800000u;  // 2ⁿ
  const F<L> result = fraction * load<F<L>>(&power);
  return x < limit ? F<L>{} : result;
}

template <int L>
inline F<L> tanh_of(F<L> x) {
  constexpr float kFit[] = {-0.33333263f, 0.13330899f, -0.053692963f, 0.020483306f, -0.0055286246f};
  const F<L> size = magnitude<L>(x), square = x * x;
  const F<L> near = (x * square) * polynomial<L>(square, kFit) + x;
  const F<L> e = exp_of_negative<L>(size * -2.0f);
  const F<L> far = with_sign<L>((1.0f - e) / (1.0f + e), x);
  return size < 0.625f ? near : far;
}

/// The logistic function 1/(1 + e⁻ˣ), and 1 minus it, each to a few ulp of itself.
template <int L>
struct Sigmoid {
  F<L> value, rest;
  explicit Sigmoid(F<L> x) {
    const F<L> e = exp_of_negative<L>(-magnitude<L>(x));
    const F<L> larger = 1.0f / (1.0f + e), smaller = e * larger;
    value = x < 0.0f ? smaller : larger;
    rest = x < 0.0f ? larger : smaller;
  }
};

/// Near 0 an odd polynomial, elsewhere 1 − exp(−q) with a polynomial q; beyond 4 it is 1 in f32.
template <int L>
inline F<L> erf_of(F<L> x) {
  constexpr float kNear[] = {0.12837915f,   -0.37612507f,  0.11281955f,
                             -0.026771283f, 0.0049996013f, -0.0006021806f};
  constexpr float kFar[] = {0.00017748724f, 1.1277496f,    0.6370597f,     0.10403742f,
                            -0.022277117f,  0.0030556158f, -0.00019718263f};
  const F<L> size = magnitude<L>(x), four = F<L>{} + 4.0f;
  const F<L> near = x * polynomial<L>(x * x, kNear) + x;
  const F<L> q = polynomial<L>(size > four ? four : size, kFar);  // a nan stays a nan
  const F<L> far = with_sign<L>(1.0f - exp_of_negative<L>(-q), x);
  return size < 0.91f ? near : far;
}

}  // namespace
}  // namespace syncnorm::cpu
