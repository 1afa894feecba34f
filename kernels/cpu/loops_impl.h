// The pointwise loops of loops.h, and the table of all loops for vectors of L floats. Included by
// exactly three files, each compiled for its own instruction set (see vectors.h).
#pragma once

#include "kernels/cpu/loops_activated.h"
#include "kernels/cpu/loops_evonorm.h"
#include "kernels/cpu/loops_functions.h"
#include "kernels/cpu/loops_norm.h"
#include "kernels/cpu/loops_resample.h"
#include "kernels/cpu/loops_rows.h"

namespace syncnorm::cpu {
namespace {

template <int L, class S>
struct Pointwise {
  static void relu(const S* x, S* y, size_t count) {
    for_each_value<L>(count, [&]<int W>(size_t i) {
      const F<W> v = get<W>(x + i);
      put<W>(y + i, v > 0.0f ? v : (v <= 0.0f ? F<W>{} : v));
    });
  }
  static void relu_backward(const S* dy, const S* y, S* dx, size_t count) {
    for_each_value<L>(count, [&]<int W>(size_t i) {
      put<W>(dx + i, keep_positive<W>(get<W>(dy + i), get<W>(y + i)));
    });
  }
  static void add(const S* a, const S* b, S* y, size_t count) {
    for_each_value<L>(count,
                      [&]<int W>(size_t i) { put<W>(y + i, get<W>(a + i) + get<W>(b + i)); });
  }
  static void multiply(const S* a, const S* b, S* y, size_t count) {
    for_each_value<L>(count,
                      [&]<int W>(size_t i) { put<W>(y + i, get<W>(a + i) * get<W>(b + i)); });
  }
};

template <int L>
struct Updates {
  static void sgd(float* p, const float* g, float* v, size_t count, float rate, float scale,
                  float momentum, float decay, bool nesterov) {
    for_each_value<L>(count, [&]<int W>(size_t i) {
      const F<W> old = load<F<W>>(p + i);
      const F<W> gradient = load<F<W>>(g + i) * scale + old * decay;
      const F<W> velocity = load<F<W>>(v + i) * momentum + gradient;
      store(v + i, velocity);
      store(p + i, old - (nesterov ? gradient + velocity * momentum : velocity) * rate);
    });
  }
  static void average(float* average, const float* x, size_t count, float weight) {
    for_each_value<L>(count, [&]<int W>(size_t i) {
      const F<W> old = load<F<W>>(average + i);
      store(average + i, old + (load<F<W>>(x + i) - old) * weight);
    });
  }
  /// Sums in f64 with four independent accumulators: it runs in every step and must not be bound by
  /// the latency of additions.
  static double dot(const float* a, const float* b, size_t count) {
    constexpr int kHalf = L / 2;  // doubles per vector
    D<kHalf> sums[4] = {};
    size_t i = 0;
    for (; i + 4 * kHalf <= count; i += 4 * kHalf)
      for (int u = 0; u < 4; ++u) {
        const auto v = __builtin_convertvector(load<F<kHalf>>(a + i + u * kHalf), D<kHalf>);
        const auto w = __builtin_convertvector(load<F<kHalf>>(b + i + u * kHalf), D<kHalf>);
        sums[u] += v * w;
      }
    const D<kHalf> sum = (sums[0] + sums[1]) + (sums[2] + sums[3]);
    double total = 0.0;
    for (int l = 0; l < kHalf; ++l) total += sum[l];
    for (; i < count; ++i) total += static_cast<double>(a[i]) * b[i];
    return total;
  }
};

template <int L>
struct Conversions {
  static void narrow(const float* x, BFloat16* y, size_t count) {
    for_each_value<L>(count, [&]<int W>(size_t i) { put<W>(y + i, get<W>(x + i)); });
  }
  static void widen(const BFloat16* x, float* y, size_t count) {
    for_each_value<L>(count, [&]<int W>(size_t i) { put<W>(y + i, get<W>(x + i)); });
  }
};

template <int L, class S>
constexpr StorageLoops<S> make_storage_loops() {
  return {Moments<L, S>::run,
          Normalize<L, S>::run,
          GradientSums<L, S>::run,
          InputGradient<L, S>::run,
          Deviations<L, S>::absolute,
          Deviations<L, S>::largest,
          Deviations<L, S>::count,
          RowNorm<L, S>::run,
          RowNormGradient<L, S>::run,
          PointwiseNorm<L, S>::run,
          PointwiseNorm<L, S>::gradient,
          ActivatedNorm<L, S>::run,
          ActivatedNormGradient<L, S>::sums,
          ActivatedNormGradient<L, S>::input,
          EvoNorm<L, S>::run,
          EvoNormGradient<L, S>::sums,
          EvoNormGradient<L, S>::input,
          Pointwise<L, S>::relu,
          Pointwise<L, S>::relu_backward,
          Pointwise<L, S>::add,
          Pointwise<L, S>::multiply,
          RowProducts<L, S>::scale,
          RowProducts<L, S>::sums,
          Resample<L, S>::blend,
          Resample<L, S>::add_weighted,
          Resample<L, S>::row,
          Resample<L, S>::row_gradient};
}

template <int L>
constexpr Loops make_loops(const char* name) {
  return {name,
          make_storage_loops<L, float>(),
          make_storage_loops<L, BFloat16>(),
          Conversions<L>::narrow,
          Conversions<L>::widen,
          Updates<L>::average,
          Updates<L>::sgd,
          Updates<L>::dot};
}

}  // namespace
}  // namespace syncnorm::cpu
