// The bodies of loops.h for vectors of L floats. Included by exactly three files, each compiled for
// its own instruction set; everything is in an unnamed namespace so that no code compiled for AVX
// can be picked by the linker for the baseline. For the same reason nothing here calls the library.
#pragma once

#include <cstddef>

#include "kernels/cpu/loops.h"

namespace syncnorm::cpu {
namespace {

using std::size_t;

template <int L>
struct Vec {
  using Float __attribute__((vector_size(L * 4))) = float;
  using Double __attribute__((vector_size(L * 8))) = double;
};
template <int L>
using F = typename Vec<L>::Float;
template <int L>
using D = typename Vec<L>::Double;

template <class T, class S>
inline T load(const S* p) {
  T v;
  __builtin_memcpy(&v, p, sizeof v);
  return v;
}
template <class T, class S>
inline void store(S* p, T v) {
  __builtin_memcpy(p, &v, sizeof v);
}

/// Calls body<W, NV>(first column) for blocks of NV vectors of W = L columns, at most kMost, then
/// for single columns. What keeps many constants per column takes fewer vectors, to hold them in
/// registers.
template <int L, int kMost, class Body>
inline void for_each_column_block(int channels, const Body& body) {
  int c = 0;
  if constexpr (kMost >= 4)
    for (; c + 4 * L <= channels; c += 4 * L) body.template operator()<L, 4>(c);
  for (; c + 2 * L <= channels; c += 2 * L) body.template operator()<L, 2>(c);
  for (; c + L <= channels; c += L) body.template operator()<L, 1>(c);
  for (; c < channels; ++c) body.template operator()<1, 1>(c);
}

/// Rows per block so that a block of `channels` columns stays in the first-level cache.
inline size_t block_rows(int channels) {
  const size_t rows = 4096 / static_cast<size_t>(channels);
  return rows < 16 ? 16 : (rows > 512 ? 512 : rows);
}

/// Calls body(first row, rows, first column) for tiles of block_rows() rows and a block of columns;
/// each column meets its rows in order.
template <int L, int kMost = 4, class Body>
inline void for_each_tile(size_t rows, int channels, const Body& body) {
  const size_t block = block_rows(channels);
  for (size_t first = 0; first < rows; first += block) {
    const size_t n = rows - first < block ? rows - first : block;
    for_each_column_block<L, kMost>(
        channels, [&]<int W, int NV>(int c) { body.template operator()<W, NV>(first, n, c); });
  }
}

/// Partial sums in registers: U independent accumulators for each of NV vectors hide the latency.
template <int L, int NV, int U>
struct Accumulators {
  F<L> part[U][NV];
  Accumulators() : part{} {}
  F<L> total(int v) const {
    F<L> level[U];
    for (int u = 0; u < U; ++u) level[u] = part[u][v];
    for (int width = U / 2; width > 0; width /= 2)
      for (int u = 0; u < width; ++u) level[u] = level[u] + level[u + width];
    return level[0];
  }
};

template <int NV>
constexpr int kUnroll = NV == 4 ? 2 : (NV == 2 ? 4 : 8);

template <int L>
struct Moments {
  static void run(const float* x, size_t rows, int channels, double* mean, double* m2) {
    for (int c = 0; c < channels; ++c) mean[c] = m2[c] = 0.0;
    const size_t width = static_cast<size_t>(channels);
    for_each_tile<L>(rows, channels, [&]<int W, int NV>(size_t first, size_t n, int c) {
      merge_block<W, NV>(x + first * width + static_cast<size_t>(c), n, channels, first, mean + c,
                         m2 + c);
    });
  }

  template <int W, int NV>
  static void merge_block(const float* x, size_t rows, int stride, size_t before, double* mean,
                          double* m2) {
    constexpr int U = kUnroll<NV>;
    const size_t step = static_cast<size_t>(stride);
    Accumulators<W, NV, U> sum;
    size_t r = 0;
    for (; r + U <= rows; r += U)
      for (int u = 0; u < U; ++u)
        for (int v = 0; v < NV; ++v)
          sum.part[u][v] += load<F<W>>(x + (r + static_cast<size_t>(u)) * step + v * W);
    for (; r < rows; ++r)
      for (int v = 0; v < NV; ++v) sum.part[0][v] += load<F<W>>(x + r * step + v * W);
    F<W> pivot[NV];
    for (int v = 0; v < NV; ++v) pivot[v] = sum.total(v) / static_cast<float>(rows);
    Accumulators<W, NV, U> first, second;
    for (r = 0; r + U <= rows; r += U)
      for (int u = 0; u < U; ++u)
        for (int v = 0; v < NV; ++v) {
          const F<W> d = load<F<W>>(x + (r + static_cast<size_t>(u)) * step + v * W) - pivot[v];
          first.part[u][v] += d;
          second.part[u][v] += d * d;
        }
    for (; r < rows; ++r)
      for (int v = 0; v < NV; ++v) {
        const F<W> d = load<F<W>>(x + r * step + v * W) - pivot[v];
        first.part[0][v] += d;
        second.part[0][v] += d * d;
      }
    const double n = static_cast<double>(rows), na = static_cast<double>(before);
    for (int v = 0; v < NV; ++v) {
      const D<W> s1 = __builtin_convertvector(first.total(v), D<W>);
      const D<W> s2 = __builtin_convertvector(second.total(v), D<W>);
      const D<W> block_mean = __builtin_convertvector(pivot[v], D<W>) + s1 / n;
      const D<W> block_m2 = s2 - s1 * s1 / n;
      const D<W> old_mean = load<D<W>>(mean + v * W);
      const D<W> delta = block_mean - old_mean;
      store(mean + v * W, old_mean + delta * (n / (na + n)));
      D<W> grown = load<D<W>>(m2 + v * W) + block_m2 + delta * delta * (na * n / (na + n));
      store(m2 + v * W, grown);
    }
  }
};

template <int L>
inline F<L> keep_positive(F<L> value, F<L> test) {
  return test > 0.0f ? value : F<L>{};
}

template <int L>
struct Normalize {
  static void run(const NormalizeArgs& a) {
    const size_t width = static_cast<size_t>(a.channels);
    for_each_tile<L>(a.rows, a.channels, [&]<int W, int NV>(size_t first, size_t n, int c) {
      const size_t at = first * width + static_cast<size_t>(c);
      if (a.residual != nullptr)
        rows<W, NV, true>(a, at, c, n);
      else
        rows<W, NV, false>(a, at, c, n);
    });
  }

  template <int W, int NV, bool kResidual>
  static void rows(const NormalizeArgs& a, size_t at, int c, size_t n) {
    if (a.relu)
      rows<W, NV, kResidual, true>(a, at, c, n);
    else
      rows<W, NV, kResidual, false>(a, at, c, n);
  }

  template <int W, int NV, bool kResidual, bool kRelu>
  static void rows(const NormalizeArgs& a, size_t at, int c, size_t n) {
    F<W> mean[NV], scale[NV], shift[NV];
    for (int v = 0; v < NV; ++v) {
      mean[v] = load<F<W>>(a.mean + c + v * W);
      scale[v] = load<F<W>>(a.scale + c + v * W);
      shift[v] = load<F<W>>(a.shift + c + v * W);
    }
    for (size_t r = 0; r < n; ++r, at += static_cast<size_t>(a.channels))
      for (int v = 0; v < NV; ++v) {
        const size_t i = at + static_cast<size_t>(v * W);
        F<W> y = (load<F<W>>(a.x + i) - mean[v]) * scale[v] + shift[v];
        if constexpr (kResidual) y += load<F<W>>(a.residual + i);
        if constexpr (kRelu) y = F<W>{} > y ? F<W>{} : y;  // a nan stays a nan
        store(a.y + i, y);
      }
  }
};

/// Where a gradient passes the ReLU: everywhere, where y is positive, or where y would be.
enum class Mask { none, from_y, from_x };

template <int L>
struct GradientSums {
  static void run(const GradientSumsArgs& a) {
    for (int c = 0; c < a.channels; ++c) a.sum_g[c] = a.sum_gx[c] = 0.0;
    if (!a.relu)
      keep<Mask::none>(a);
    else if (a.y != nullptr)
      keep<Mask::from_y>(a);
    else
      keep<Mask::from_x>(a);
  }

  template <Mask kMask>
  static void keep(const GradientSumsArgs& a) {
    if (a.g != nullptr && a.dy2 != nullptr)
      tiles<kMask, true, true>(a);
    else if (a.g != nullptr)
      tiles<kMask, true, false>(a);
    else if (a.dy2 != nullptr)
      tiles<kMask, false, true>(a);
    else
      tiles<kMask, false, false>(a);
  }

  template <Mask kMask, bool kKeep, bool kTwo>
  static void tiles(const GradientSumsArgs& a) {
    const size_t width = static_cast<size_t>(a.channels);
    for_each_tile<L, 2>(a.rows, a.channels, [&]<int W, int NV>(size_t first, size_t n, int c) {
      rows<kMask, kKeep, kTwo, W, NV>(a, first * width + static_cast<size_t>(c), c, n);
    });
  }

  template <Mask kMask, bool kKeep, bool kTwo, int W, int NV>
  static void rows(const GradientSumsArgs& a, size_t at, int c, size_t n) {
    constexpr int U = NV == 2 ? 2 : 4;
    const size_t step = static_cast<size_t>(a.channels);
    F<W> mean[NV], scale[NV], shift[NV];
    for (int v = 0; v < NV; ++v) {
      mean[v] = load<F<W>>(a.mean + c + v * W);
      scale[v] = load<F<W>>(a.scale + c + v * W);
      shift[v] = load<F<W>>(a.shift + c + v * W);
    }
    Accumulators<W, NV, U> sum_g, sum_gx;
    const auto one = [&](size_t i, int u, int v) {
      F<W> g = load<F<W>>(a.dy + i);
      if constexpr (kTwo) g += load<F<W>>(a.dy2 + i);
      const F<W> centred = load<F<W>>(a.x + i) - mean[v];
      if constexpr (kMask == Mask::from_y) g = keep_positive<W>(g, load<F<W>>(a.y + i));
      if constexpr (kMask == Mask::from_x) g = keep_positive<W>(g, centred * scale[v] + shift[v]);
      if constexpr (kKeep) store(a.g + i, g);
      sum_g.part[u][v] += g;
      sum_gx.part[u][v] += g * centred;
    };
    size_t r = 0;
    for (; r + U <= n; r += U)
      for (int u = 0; u < U; ++u)
        for (int v = 0; v < NV; ++v)
          one(at + (r + static_cast<size_t>(u)) * step + static_cast<size_t>(v * W), u, v);
    for (; r < n; ++r)
      for (int v = 0; v < NV; ++v) one(at + r * step + static_cast<size_t>(v * W), 0, v);
    for (int v = 0; v < NV; ++v) {
      double* g = a.sum_g + c + v * W;
      double* gx = a.sum_gx + c + v * W;
      store(g, load<D<W>>(g) + __builtin_convertvector(sum_g.total(v), D<W>));
      store(gx, load<D<W>>(gx) + __builtin_convertvector(sum_gx.total(v), D<W>));
    }
  }
};

template <int L>
inline F<L> sign_of(F<L> value) {
  const F<L> one = F<L>{} + 1.0f;
  // Comparisons with a nan are false: it comes out as 0, and reaches dx through g, b and d.
  return value > 0.0f ? one : (value < 0.0f ? -one : F<L>{});
}

template <int L>
inline F<L> size_of(F<L> value) {
  return value < 0.0f ? -value : value;
}

template <int L>
struct InputGradient {
  static void run(const InputGradientArgs& a) {
    switch (a.direction) {
      case Direction::value:
        return tiles<Direction::value>(a);
      case Direction::sign:
        return tiles<Direction::sign>(a);
      case Direction::sign_of_largest:
        return tiles<Direction::sign_of_largest>(a);
    }
  }

  template <Direction kDirection>
  static void tiles(const InputGradientArgs& a) {
    if (a.relu)
      tiles<kDirection, true>(a);
    else
      tiles<kDirection, false>(a);
  }

  template <Direction kDirection, bool kRelu>
  static void tiles(const InputGradientArgs& a) {
    const size_t width = static_cast<size_t>(a.channels);
    for_each_tile<L, 2>(a.rows, a.channels, [&]<int W, int NV>(size_t first, size_t n, int c) {
      rows<kDirection, kRelu, W, NV>(a, first * width + static_cast<size_t>(c), c, n);
    });
  }

  template <Direction kDirection, bool kRelu, int W, int NV>
  static void rows(const InputGradientArgs& args, size_t at, int c, size_t n) {
    // Copied, because a store to dx could change what `args` points at, for all the compiler knows.
    F<W> mean[NV], scale[NV], shift[NV], a[NV], b[NV], d[NV], rest[NV], largest[NV];
    for (int v = 0; v < NV; ++v) {
      const int k = c + v * W;
      mean[v] = load<F<W>>(args.mean + k);
      a[v] = load<F<W>>(args.a + k);
      b[v] = load<F<W>>(args.b + k);
      d[v] = load<F<W>>(args.d + k);
      if constexpr (kRelu) {
        scale[v] = load<F<W>>(args.scale + k);
        shift[v] = load<F<W>>(args.shift + k);
      }
      if constexpr (kDirection != Direction::value) rest[v] = load<F<W>>(args.rest + k);
      if constexpr (kDirection == Direction::sign_of_largest)
        largest[v] = load<F<W>>(args.largest + k);
    }
    const float *from = args.g, *x = args.x;
    float* dx = args.dx;
    const size_t step = static_cast<size_t>(args.channels);
    for (size_t r = 0; r < n; ++r, at += step)
      for (int v = 0; v < NV; ++v) {
        const size_t i = at + static_cast<size_t>(v * W);
        F<W> g = load<F<W>>(from + i);
        const F<W> centred = load<F<W>>(x + i) - mean[v];
        if constexpr (kRelu) g = keep_positive<W>(g, centred * scale[v] + shift[v]);
        F<W> h = centred;
        if constexpr (kDirection != Direction::value) h = sign_of<W>(h - rest[v]);
        if constexpr (kDirection == Direction::sign_of_largest)
          h = size_of<W>(centred - rest[v]) == largest[v] ? h : F<W>{};
        store(dx + i, a[v] * g + b[v] * h + d[v]);
      }
  }
};

/// The deviations of BatchDeviation; one body, of which each part keeps what it needs.
template <int L>
struct Deviations {
  enum class Part { absolute, largest, count };

  template <Part kPart>
  static void run(const DeviationArgs& a) {
    for (int c = 0; c < a.channels; ++c) {
      a.first[c] = 0.0;
      if (a.second != nullptr) a.second[c] = 0.0;
    }
    const size_t width = static_cast<size_t>(a.channels);
    for_each_tile<L>(a.rows, a.channels, [&]<int W, int NV>(size_t first, size_t n, int c) {
      for (int v = 0; v < NV; ++v)
        column<kPart, W>(a, first * width + static_cast<size_t>(c + v * W), c + v * W, n);
    });
  }

  template <Part kPart, int W>
  static void column(const DeviationArgs& a, size_t at, int c, size_t n) {
    constexpr int U = 8;
    const size_t step = static_cast<size_t>(a.channels);
    const F<W> mean = load<F<W>>(a.mean + c), rest = load<F<W>>(a.rest + c);
    const F<W> one = F<W>{} + 1.0f;
    F<W> largest{};
    if constexpr (kPart == Part::count) largest = load<F<W>>(a.largest + c);
    Accumulators<W, 1, U> first, second;
    F<W> maximum{};
    const auto take = [&](size_t r, int u) {
      const F<W> d = load<F<W>>(a.x + at + r * step) - mean - rest;
      const F<W> size = size_of<W>(d);
      if constexpr (kPart == Part::absolute) {
        first.part[u][0] += size;
        second.part[u][0] += sign_of<W>(d);
      } else if constexpr (kPart == Part::largest) {
        maximum = size > maximum ? size : maximum;
      } else {
        first.part[u][0] += size == largest ? one : F<W>{};
        second.part[u][0] += size == largest ? sign_of<W>(d) : F<W>{};
      }
    };
    size_t r = 0;
    for (; r + U <= n; r += U)
      for (int u = 0; u < U; ++u) take(r + static_cast<size_t>(u), u);
    for (; r < n; ++r) take(r, 0);
    const D<W> old = load<D<W>>(a.first + c);
    if constexpr (kPart == Part::largest) {
      const D<W> part = __builtin_convertvector(maximum, D<W>);
      store(a.first + c, part > old ? part : old);
    } else {
      store(a.first + c, old + __builtin_convertvector(first.total(0), D<W>));
      store(a.second + c,
            load<D<W>>(a.second + c) + __builtin_convertvector(second.total(0), D<W>));
    }
  }
};

/// Calls body<W>(i) for vectors of L values, then single ones.
template <int L, class Body>
inline void for_each_value(size_t count, const Body& body) {
  size_t i = 0;
  for (; i + L <= count; i += L) body.template operator()<L>(i);
  for (; i < count; ++i) body.template operator()<1>(i);
}

template <int L>
struct Pointwise {
  static void relu(const float* x, float* y, size_t count) {
    for_each_value<L>(count, [&]<int W>(size_t i) {
      const F<W> v = load<F<W>>(x + i);
      store(y + i, v > 0.0f ? v : (v <= 0.0f ? F<W>{} : v));
    });
  }
  static void relu_backward(const float* dy, const float* y, float* dx, size_t count) {
    for_each_value<L>(count, [&]<int W>(size_t i) {
      store(dx + i, keep_positive<W>(load<F<W>>(dy + i), load<F<W>>(y + i)));
    });
  }
  static void add(const float* a, const float* b, float* y, size_t count) {
    for_each_value<L>(
        count, [&]<int W>(size_t i) { store(y + i, load<F<W>>(a + i) + load<F<W>>(b + i)); });
  }
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
  static double sum_of_squares(const float* x, size_t count) {
    D<L> sum{};
    size_t i = 0;
    for (; i + L <= count; i += L) {
      const D<L> v = __builtin_convertvector(load<F<L>>(x + i), D<L>);
      sum += v * v;
    }
    double total = 0.0;
    for (int l = 0; l < L; ++l) total += sum[l];
    for (; i < count; ++i) total += static_cast<double>(x[i]) * x[i];
    return total;
  }
};

template <int L>
constexpr Loops make_loops(const char* name) {
  return {name,
          Moments<L>::run,
          Normalize<L>::run,
          GradientSums<L>::run,
          InputGradient<L>::run,
          Deviations<L>::template run<Deviations<L>::Part::absolute>,
          Deviations<L>::template run<Deviations<L>::Part::largest>,
          Deviations<L>::template run<Deviations<L>::Part::count>,
          Pointwise<L>::relu,
          Pointwise<L>::relu_backward,
          Pointwise<L>::add,
          Pointwise<L>::sgd,
          Pointwise<L>::sum_of_squares};
}

}  // namespace
}  // namespace syncnorm::cpu
