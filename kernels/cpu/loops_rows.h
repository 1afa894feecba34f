// The passes over memory of norms over the channels of a row; see loops.h for what they compute and
// vectors.h for how this file is compiled.
//
// A row is read several times, from the L1 cache after the first. Up to four rows are processed
// together, because adding up the lanes of one vector is a long chain of operations.
#pragma once

#include <utility>

#include "kernels/cpu/loops_norm.h"

namespace syncnorm::cpu {
namespace {

template <int L>
inline float total_of(F<L> v) {
  if constexpr (L == 1) {
    return v[0];
  } else {
    return [&]<int... I>(std::integer_sequence<int, I...>) {
      const F<L / 2> low = __builtin_shufflevector(v, v, I...);
      const F<L / 2> high = __builtin_shufflevector(v, v, (L / 2 + I)...);
      return total_of<L / 2>(low + high);
    }
    (std::make_integer_sequence<int, L / 2>{});
  }
}

/// A sum over the columns of a row: f32 within a panel, f64 between panels.
template <int L>
struct RowSum {
  F<L> wide{};
  F<1> narrow{};
  double total = 0.0;

  template <int W>
  void add(F<W> v) {
    if constexpr (W == L)
      wide += v;
    else
      narrow += v;
  }
  void close_panel() {
    total += static_cast<double>(total_of<L>(wide) + narrow[0]);
    wide = F<L>{};
    narrow = F<1>{};
  }
};

/// Calls body<W>(column) for all columns of R rows; after each panel, closes the sums.
template <int L, int R, class Body>
inline void for_each_summed_column(int channels, RowSum<L> (&first)[R], RowSum<L> (&second)[R],
                                   const Body& body) {
  constexpr int kColumns = 512;
  for (int begin = 0; begin < channels; begin += kColumns) {
    const int left = channels - begin;
    for_each_column<L>(left < kColumns ? left : kColumns,
                       [&]<int W>(int c) { body.template operator()<W>(begin + c); });
    for (int u = 0; u < R; ++u) {
      first[u].close_panel();
      second[u].close_panel();
    }
  }
}

/// 1/√v of R ≤ 4 values.
template <int R>
inline void inverse_roots(float (&v)[R]) {
  __m128 roots = _mm_set1_ps(1.0f);
  __builtin_memcpy(&roots, v, sizeof v);
  roots = _mm_div_ps(_mm_set1_ps(1.0f), _mm_sqrt_ps(roots));
  __builtin_memcpy(v, &roots, sizeof v);
}

/// The statistics of R rows. The mean is `mean` + `rest`, so that a large mean costs no accuracy.
template <int L, int R, class S>
struct RowStatistics {
  float mean[R], rest[R], inv_std[R];

  RowStatistics(const S* x, int channels, float eps) {
    const size_t step = static_cast<size_t>(channels);
    const double share = 1.0 / static_cast<double>(channels);
    RowSum<L> sum[R], unused[R];
    for_each_summed_column<L, R>(channels, sum, unused, [&]<int W>(int c) {
      for (int u = 0; u < R; ++u)
        sum[u].template add<W>(get<W>(x + static_cast<size_t>(u) * step + c));
    });
    for (int u = 0; u < R; ++u) mean[u] = static_cast<float>(sum[u].total * share);
    RowSum<L> deviation[R], square[R];
    for_each_summed_column<L, R>(channels, deviation, square, [&]<int W>(int c) {
      for (int u = 0; u < R; ++u) {
        const F<W> d = get<W>(x + static_cast<size_t>(u) * step + c) - mean[u];
        deviation[u].template add<W>(d);
        square[u].template add<W>(d * d);
      }
    });
    for (int u = 0; u < R; ++u) {
      const double offset = deviation[u].total * share;
      const double variance = square[u].total * share - offset * offset;
      rest[u] = static_cast<float>(offset);
      inv_std[u] = static_cast<float>(variance < 0.0 ? 0.0 : variance) + eps;  // a nan stays a nan
    }
    inverse_roots<R>(inv_std);
  }

  template <int W>
  F<W> normalized(int u, F<W> x) const {
    return ((x - mean[u]) - rest[u]) * inv_std[u];
  }
};

/// Rows times a factor each, and the products of two rows.
template <int L, class S>
struct RowProducts {
  static void scale(const S* x, const S* factors, S* y, size_t rows, int channels) {
    const size_t step = static_cast<size_t>(channels);
    for (size_t r = 0; r < rows; ++r) {
      const float factor = get<1>(factors + r)[0];
      for_each_value<L>(step, [&]<int W>(size_t c) {
        put<W>(y + r * step + c, get<W>(x + r * step + c) * factor);
      });
    }
  }
  static void sums(const S* a, const S* b, S* sums, size_t rows, int channels) {
    const size_t step = static_cast<size_t>(channels);
    for (size_t r = 0; r < rows; ++r) {
      RowSum<L> sum[1], unused[1];
      for_each_summed_column<L, 1>(channels, sum, unused, [&]<int W>(int c) {
        const size_t i = r * step + static_cast<size_t>(c);
        sum[0].template add<W>(get<W>(a + i) * get<W>(b + i));
      });
      put<1>(sums + r, F<1>{static_cast<float>(sum[0].total)});
    }
  }
};

template <int L, class S>
struct RowNorm {
  static void run(const RowNormArgs<S>& args) {
    const RowNormArgs<S> a = args;  // a copy: a store to y might alias `args`
    for_each_row_group(a.rows, rows_in_turns(a.rows, a.channels), [&]<int R>(size_t r) {
      if (a.residual != nullptr)
        relu<R, true>(a, r);
      else
        relu<R, false>(a, r);
    });
  }

 private:
  template <int R, bool kResidual>
  static void relu(const RowNormArgs<S>& a, size_t r) {
    if (a.relu)
      rows<R, kResidual, true>(a, r);
    else
      rows<R, kResidual, false>(a, r);
  }

  template <int R, bool kResidual, bool kRelu>
  static void rows(const RowNormArgs<S>& a, size_t r) {
    const size_t step = static_cast<size_t>(a.channels), at = r * step;
    const RowStatistics<L, R, S> row(a.x + at, a.channels, a.eps);
    for_each_column<L>(a.channels, [&]<int W>(int c) {
      const F<W> gamma = load<F<W>>(a.gamma + c), beta = load<F<W>>(a.beta + c);
      for (int u = 0; u < R; ++u) {
        const size_t i = at + static_cast<size_t>(u) * step + static_cast<size_t>(c);
        F<W> y = row.template normalized<W>(u, get<W>(a.x + i)) * gamma + beta;
        if constexpr (kResidual) y += get<W>(a.residual + i);
        if constexpr (kRelu) y = F<W>{} > y ? F<W>{} : y;  // a nan stays a nan
        put<W>(a.y + i, y);
      }
    });
  }
};

template <int L, class S>
struct RowNormGradient {
  static void run(const RowNormGradientArgs<S>& args) {
    const RowNormGradientArgs<S> a = args;  // a copy, as in RowNorm
    for (int c = 0; c < a.channels; ++c) a.sum_g[c] = a.sum_gx[c] = 0.0;
    if (!a.relu)
      blocks<Mask::none>(a);
    else if (a.y != nullptr)
      blocks<Mask::from_y>(a);
    else
      blocks<Mask::from_x>(a);
  }

 private:
  template <Mask kMask>
  static void blocks(const RowNormGradientArgs<S>& a) {
    const size_t block = block_rows(a.channels), step = static_cast<size_t>(a.channels);
    const bool in_turns = rows_in_turns(a.rows, a.channels);
    float *const block_g = a.scratch, *const block_gx = block_g + step;
    for (size_t begin = 0; begin < a.rows; begin += block) {
      const size_t n = a.rows - begin < block ? a.rows - begin : block;
      for (size_t c = 0; c < 2 * step; ++c) block_g[c] = 0.0f;
      for_each_row_group(n, in_turns, [&]<int R>(size_t r) { rows<kMask, R>(a, begin + r); });
      for (size_t c = 0; c < step; ++c) {
        a.sum_g[c] += block_g[c];
        a.sum_gx[c] += block_gx[c];
      }
    }
  }

  template <Mask kMask, int R>
  static void rows(const RowNormGradientArgs<S>& a, size_t r) {
    const size_t step = static_cast<size_t>(a.channels), at = r * step;
    float *const block_g = a.scratch, *const block_gx = block_g + step;
    float *const weighted = block_gx + step, *const normal = weighted + R * step;  // [R, channels]
    const RowStatistics<L, R, S> row(a.x + at, a.channels, a.eps);
    RowSum<L> sum_g[R], sum_gx[R];
    for_each_summed_column<L, R>(a.channels, sum_g, sum_gx, [&]<int W>(int c) {
      const F<W> gamma = load<F<W>>(a.gamma + c), beta = load<F<W>>(a.beta + c);
      // One product per addition: of two, either may be fused with it, and bits would be chance.
      F<W> total_g = load<F<W>>(block_g + c), total_gx = load<F<W>>(block_gx + c);
      for (int u = 0; u < R; ++u) {
        const size_t k = static_cast<size_t>(u) * step + static_cast<size_t>(c), i = at + k;
        const F<W> x = row.template normalized<W>(u, get<W>(a.x + i));
        F<W> g = get<W>(a.dy + i);
        if (a.dy2 != nullptr) g += get<W>(a.dy2 + i);
        if constexpr (kMask == Mask::from_y) g = keep_positive<W>(g, get<W>(a.y + i));
        if constexpr (kMask == Mask::from_x) g = keep_positive<W>(g, x * gamma + beta);
        if (a.g != nullptr) {
          g = as_stored<S, W>(g);
          put<W>(a.g + i, g);
        }
        total_g += g;
        total_gx += g * x;
        const F<W> h = g * gamma;
        sum_g[u].template add<W>(h);
        sum_gx[u].template add<W>(h * x);
        store(weighted + k, h);
        store(normal + k, x);
      }
      store(block_g + c, total_g);
      store(block_gx + c, total_gx);
    });
    const double share = 1.0 / static_cast<double>(a.channels);
    for (int u = 0; u < R; ++u) {
      const float mean_g = static_cast<float>(sum_g[u].total * share);
      const float mean_gx = static_cast<float>(sum_gx[u].total * share);
      const size_t k = static_cast<size_t>(u) * step;
      for_each_column<L>(a.channels, [&]<int W>(int c) {
        const F<W> h = load<F<W>>(weighted + k + c), x = load<F<W>>(normal + k + c);
        put<W>(a.dx + at + k + c, ((h - mean_g) - x * mean_gx) * row.inv_std[u]);
      });
    }
  }
};

}  // namespace
}  // namespace syncnorm::cpu
