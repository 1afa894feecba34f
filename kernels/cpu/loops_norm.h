// Normalization's passes over memory; see loops.h for what they compute and vectors.h for how this
// file is compiled.
//
// Sums over rows are f32 within a block of rows, kept per column in the L1 cache, and f64 between
// blocks. Wide matrices are processed in panels of columns.
#pragma once

#include "kernels/cpu/loops.h"
#include "kernels/cpu/vectors.h"

namespace syncnorm::cpu {
namespace {

constexpr int kPanel = 2048;

/// Rows per block, whose sums are f32: for narrow matrices, as many as fit into the L1 cache.
inline size_t block_rows(int channels) {
  const size_t rows = 4096 / static_cast<size_t>(channels);
  return rows < 32 ? 32 : (rows > 256 ? 256 : rows);
}

/// Calls body(first column, number of columns) for each panel of `channels` columns.
template <class Body>
inline void for_each_panel(int channels, const Body& body) {
  for (int c = 0; c < channels; c += kPanel) {
    const int left = channels - c;
    body(c, left < kPanel ? left : kPanel);
  }
}

/// Two values per element.
template <int L>
struct Two {
  F<L> first, second;
};

/// The f32 sums of one block of rows, per column of a panel.
struct BlockSums {
  float first[kPanel];
  float second[kPanel];

  /// `make`<W>(column of the panel) returns a function from an element's index to its Two<W>. The
  /// index counts from the block's first element in the panel.
  template <int L, class Make>
  void add_up(size_t rows, int channels, int columns, bool in_turns, const Make& make) {
    for (int c = 0; c < columns; ++c) first[c] = second[c] = 0.0f;
    const size_t step = static_cast<size_t>(channels);
    for_each_row_group(rows, in_turns, [&]<int R>(size_t r) {
      for_each_column<L>(columns, [&]<int W>(int c) {
        const auto values = make.template operator()<W>(c);
        F<W> one[R], other[R];
        for (int u = 0; u < R; ++u) {
          const size_t row = r + static_cast<size_t>(u);
          const Two<W> two = values(row * step + static_cast<size_t>(c));
          one[u] = two.first;
          other[u] = two.second;
        }
        store(first + c, load<F<W>>(first + c) + sum_of<R, W>(one));
        store(second + c, load<F<W>>(second + c) + sum_of<R, W>(other));
      });
    });
  }

  template <int L>
  void add_to(double* sums, double* others, int columns) const {
    for_each_column<L>(columns, [&]<int W>(int c) {
      store(sums + c, load<D<W>>(sums + c) + __builtin_convertvector(load<F<W>>(first + c), D<W>));
      store(others + c,
            load<D<W>>(others + c) + __builtin_convertvector(load<F<W>>(second + c), D<W>));
    });
  }
};

/// Computes the moments in one pass over memory: a block's deviations are taken from the mean of
/// the blocks before it, its pivot. If the pivot is δ off the block's own mean, the rounding error
/// of the block's sums is of order n·δ²; but the difference of the two means also adds to M2 in
/// that order, so no accuracy is lost. Only the first block, whose pivot is the mean of four of its
/// rows, is summed a second time when that guess was bad.
template <int L, class S>
struct Moments {
  static void run(const S* x, size_t rows, int channels, double* mean, double* m2) {
    for_each_panel(channels, [&](int c, int columns) {
      panel(x + c, rows, channels, columns, mean + c, m2 + c);
    });
  }

 private:
  static void panel(const S* x, size_t rows, int channels, int columns, double* mean, double* m2) {
    for (int c = 0; c < columns; ++c) mean[c] = m2[c] = 0.0;
    const size_t step = static_cast<size_t>(channels), block = block_rows(channels);
    const bool in_turns = rows_in_turns(rows, channels);
    float pivot[kPanel];
    BlockSums sums;
    for (size_t begin = 0; begin < rows; begin += block) {
      const size_t n = rows - begin < block ? rows - begin : block;
      const S* from = x + begin * step;
      const auto add_up = [&] { pass(from, n, step, columns, in_turns, pivot, sums); };
      if (begin == 0) guess(from, n, step, columns, pivot);
      add_up();
      if (begin == 0 && improve(sums, n, columns, pivot)) add_up();
      merge(sums, n, begin, columns, pivot, mean, m2);
    }
  }

  /// Sums the block's deviations from the pivots, and their squares.
  static void pass(const S* x, size_t rows, size_t step, int columns, bool in_turns,
                   const float* pivot, BlockSums& sums) {
    for (int c = 0; c < columns; ++c) sums.first[c] = sums.second[c] = 0.0f;
    for_each_row_group(rows, in_turns, [&]<int R>(size_t r) {
      const S* from = x + r * step;
      int c = 0;
      for (; c + 2 * L <= columns; c += 2 * L)
        add<R, L, 2>(from + c, step, pivot + c, sums.first + c, sums.second + c);
      for (; c + L <= columns; c += L)
        add<R, L, 1>(from + c, step, pivot + c, sums.first + c, sums.second + c);
      for (; c < columns; ++c)
        add<R, 1, 1>(from + c, step, pivot + c, sums.first + c, sums.second + c);
    });
  }

  /// Adds R rows of K vectors of W columns; with K = 2 that is a cache line. Prefetching keeps more
  /// reads in flight than the processor does by itself (+40% on tensors in memory).
  template <int R, int W, int K>
  static void add(const S* x, size_t step, const float* pivot, float* first, float* second) {
    constexpr size_t kAhead = 2048 / sizeof(S);
    F<W> deviations[K][R], squares[K][R];
    for (int u = 0; u < R; ++u) {
      const S* p = x + static_cast<size_t>(u) * step;
      __builtin_prefetch(p + kAhead);
      for (int k = 0; k < K; ++k) {
        const F<W> d = get<W>(p + k * W) - load<F<W>>(pivot + k * W);
        deviations[k][u] = d;
        squares[k][u] = d * d;
      }
    }
    for (int k = 0; k < K; ++k) {
      store(first + k * W, load<F<W>>(first + k * W) + sum_of<R, W>(deviations[k]));
      store(second + k * W, load<F<W>>(second + k * W) + sum_of<R, W>(squares[k]));
    }
  }

  static void guess(const S* x, size_t rows, size_t step, int columns, float* pivot) {
    const size_t quarter = rows / 4 * step;
    for_each_column<L>(columns, [&]<int W>(int c) {
      const S* p = x + c;
      const F<W> four[4] = {get<W>(p), get<W>(p + quarter), get<W>(p + 2 * quarter),
                            get<W>(p + 3 * quarter)};
      store(pivot + c, sum_of<4, W>(four) * 0.25f);
    });
  }

  /// Moves the pivots to the block's means and returns true, if one was off by more than a standard
  /// deviation.
  static bool improve(const BlockSums& sums, size_t rows, int columns, float* pivot) {
    const float n = static_cast<float>(rows);
    bool far = false;
    for (int c = 0; c < columns; ++c)
      far |= 2.0f * sums.first[c] * sums.first[c] > n * sums.second[c];
    if (!far) return false;
    for (int c = 0; c < columns; ++c) pivot[c] += sums.first[c] / n;
    return true;
  }

  /// Merges by Chan, Golub & LeVeque 1979; the pivots become the new means.
  static void merge(const BlockSums& sums, size_t rows, size_t before, int columns, float* pivot,
                    double* mean, double* m2) {
    const double n = static_cast<double>(rows), na = static_cast<double>(before);
    const double per_row = 1.0 / n, share = n / (na + n), weight = na * n / (na + n);
    for (int c = 0; c < columns; ++c) {
      const double s1 = sums.first[c], s2 = sums.second[c], offset = s1 * per_row;
      const double delta = pivot[c] + offset - mean[c], new_mean = mean[c] + delta * share;
      const double own = s2 - s1 * offset;
      mean[c] = new_mean;
      m2[c] += (own < 0.0 ? 0.0 : own) + delta * delta * weight;  // a nan stays a nan
      pivot[c] = static_cast<float>(new_mean);
    }
  }
};

template <int L>
inline F<L> keep_positive(F<L> value, F<L> test) {
  return test > 0.0f ? value : F<L>{};
}

template <int L, class S>
struct Normalize {
  static void run(const NormalizeArgs<S>& a) {
    if (a.past_caches && whole_lines(a.y, a.channels)) {
      residual<true>(a);
      _mm_sfence();
    } else {
      residual<false>(a);
    }
  }

 private:
  template <bool kStream>
  static void residual(const NormalizeArgs<S>& a) {
    if (a.residual != nullptr)
      relu<kStream, true>(a);
    else
      relu<kStream, false>(a);
  }

  template <bool kStream, bool kResidual>
  static void relu(const NormalizeArgs<S>& a) {
    if (a.relu)
      rows<kStream, kResidual, true>(a);
    else
      rows<kStream, kResidual, false>(a);
  }

  template <bool kStream, bool kResidual, bool kRelu>
  static void rows(const NormalizeArgs<S>& args) {
    const NormalizeArgs<S> a = args;  // a copy: a store to y might alias `args`
    const size_t step = static_cast<size_t>(a.channels);
    for_each_row_group(a.rows, rows_in_turns(a.rows, a.channels), [&]<int R>(size_t r) {
      for_each_column<L>(a.channels, [&]<int W>(int c) {
        const F<W> mean = load<F<W>>(a.mean + c), scale = load<F<W>>(a.scale + c);
        const F<W> shift = load<F<W>>(a.shift + c);
        for (int u = 0; u < R; ++u) {
          const size_t i = (r + static_cast<size_t>(u)) * step + static_cast<size_t>(c);
          F<W> y = (get<W>(a.x + i) - mean) * scale + shift;
          if constexpr (kResidual) y += get<W>(a.residual + i);
          if constexpr (kRelu) y = F<W>{} > y ? F<W>{} : y;  // a nan stays a nan
          write<kStream, W>(a.y + i, y);
        }
      });
    });
  }
};

/// The ReLU mask of a gradient: none, by y > 0, or by recomputing y from x.
enum class Mask { none, from_y, from_x };

template <int L, class S>
struct GradientSums {
  static void run(const GradientSumsArgs<S>& a) {
    for (int c = 0; c < a.channels; ++c) a.sum_g[c] = a.sum_gx[c] = 0.0;
    if (!a.relu)
      keep<Mask::none>(a);
    else if (a.y != nullptr)
      keep<Mask::from_y>(a);
    else
      keep<Mask::from_x>(a);
    if (a.g != nullptr && a.past_caches) _mm_sfence();
  }

 private:
  enum class Keep { no, yes, past_caches };

  template <Mask kMask>
  static void keep(const GradientSumsArgs<S>& a) {
    if (a.g == nullptr)
      second<kMask, Keep::no>(a);
    else if (a.past_caches && whole_lines(a.g, a.channels))
      second<kMask, Keep::past_caches>(a);
    else
      second<kMask, Keep::yes>(a);
  }

  template <Mask kMask, Keep kKeep>
  static void second(const GradientSumsArgs<S>& a) {
    if (a.dy2 != nullptr)
      blocks<kMask, kKeep, true>(a);
    else
      blocks<kMask, kKeep, false>(a);
  }

  template <Mask kMask, Keep kKeep, bool kTwo>
  static void blocks(const GradientSumsArgs<S>& a) {
    BlockSums sums;
    const size_t block = block_rows(a.channels), width = static_cast<size_t>(a.channels);
    const bool in_turns = rows_in_turns(a.rows, a.channels);
    for_each_panel(a.channels, [&](int first, int columns) {
      for (size_t begin = 0; begin < a.rows; begin += block) {
        const size_t n = a.rows - begin < block ? a.rows - begin : block;
        const size_t at = begin * width + static_cast<size_t>(first);
        sums.add_up<L>(n, a.channels, columns, in_turns, [&]<int W>(int c) {
          return Values<kMask, kKeep, kTwo, W>(a, first + c, at);
        });
        sums.add_to<L>(a.sum_g + first, a.sum_gx + first, columns);
      }
    });
  }

  /// g and g·(x − mean) of W columns. It holds copies of the per-column values, because the
  /// compiler must assume that a store to g changes the originals.
  template <Mask kMask, Keep kKeep, bool kTwo, int W>
  struct Values {
    const S *dy, *dy2, *x, *y;
    S* g;
    F<W> mean{}, scale{}, shift{};

    Values(const GradientSumsArgs<S>& a, int c, size_t at)
        : dy(a.dy + at), dy2(a.dy2 + at), x(a.x + at), y(a.y + at), g(a.g + at) {
      mean = load<F<W>>(a.mean + c);
      if constexpr (kMask == Mask::from_x) {
        scale = load<F<W>>(a.scale + c);
        shift = load<F<W>>(a.shift + c);
      }
    }

    Two<W> operator()(size_t i) const {
      F<W> value = get<W>(dy + i);
      if constexpr (kTwo) value += get<W>(dy2 + i);
      const F<W> centred = get<W>(x + i) - mean;
      if constexpr (kMask == Mask::from_y) value = keep_positive<W>(value, get<W>(y + i));
      if constexpr (kMask == Mask::from_x) value = keep_positive<W>(value, centred * scale + shift);
      if constexpr (kKeep != Keep::no) {
        value = as_stored<S, W>(value);  // sum what the input gradient will read
        write<kKeep == Keep::past_caches, W>(g + i, value);
      }
      return {value, value * centred};
    }
  };
};

template <int L>
inline F<L> sign_of(F<L> value) {
  const F<L> one = F<L>{} + 1.0f;
  // Comparisons with a nan are false, so a nan gives 0 here; it reaches dx through g, b and d.
  return value > 0.0f ? one : (value < 0.0f ? -one : F<L>{});
}

template <int L>
inline F<L> size_of(F<L> value) {
  return value < 0.0f ? -value : value;
}

template <int L, class S>
struct InputGradient {
  static void run(const InputGradientArgs<S>& a) {
    const bool streamed = a.past_caches && whole_lines(a.dx, a.channels);
    switch (a.direction) {
      case Direction::value:
        if (!streamed) return relu<Direction::value, false>(a);
        relu<Direction::value, true>(a);
        _mm_sfence();
        return;
      case Direction::sign:
        return relu<Direction::sign, false>(a);
      case Direction::sign_of_largest:
        return relu<Direction::sign_of_largest, false>(a);
    }
  }

 private:
  template <Direction kDirection, bool kStream>
  static void relu(const InputGradientArgs<S>& a) {
    if (a.relu)
      rows<kDirection, kStream, true>(a);
    else
      rows<kDirection, kStream, false>(a);
  }

  template <Direction kDirection, bool kStream, bool kRelu>
  static void rows(const InputGradientArgs<S>& args) {
    const InputGradientArgs<S> a = args;  // a copy, as in Normalize
    const size_t step = static_cast<size_t>(a.channels);
    for_each_row_group(a.rows, rows_in_turns(a.rows, a.channels), [&]<int R>(size_t r) {
      for_each_column<L>(a.channels, [&]<int W>(int c) {
        const Line<kDirection, kRelu, W> line(a, c);
        for (int u = 0; u < R; ++u) {
          const size_t i = (r + static_cast<size_t>(u)) * step + static_cast<size_t>(c);
          write<kStream, W>(a.dx + i, line(get<W>(a.g + i), get<W>(a.x + i)));
        }
      });
    });
  }

  /// Computes dx of one value, for W columns.
  template <Direction kDirection, bool kRelu, int W>
  struct Line {
    F<W> mean, a, b, d, scale{}, shift{}, rest{}, largest{};

    Line(const InputGradientArgs<S>& args, int c)
        : mean(load<F<W>>(args.mean + c)),
          a(load<F<W>>(args.a + c)),
          b(load<F<W>>(args.b + c)),
          d(load<F<W>>(args.d + c)) {
      if constexpr (kRelu) {
        scale = load<F<W>>(args.scale + c);
        shift = load<F<W>>(args.shift + c);
      }
      if constexpr (kDirection != Direction::value) rest = load<F<W>>(args.rest + c);
      if constexpr (kDirection == Direction::sign_of_largest)
        largest = load<F<W>>(args.largest + c);
    }

    F<W> operator()(F<W> g, F<W> x) const {
      const F<W> centred = x - mean;
      if constexpr (kRelu) g = keep_positive<W>(g, centred * scale + shift);
      F<W> h = centred;
      if constexpr (kDirection != Direction::value) h = sign_of<W>(h - rest);
      if constexpr (kDirection == Direction::sign_of_largest)
        h = size_of<W>(centred - rest) == largest ? h : F<W>{};
      return a * g + b * h + d;
    }
  };
};

/// The sums and maxima of BatchDeviation.
template <int L, class S>
struct Deviations {
  static void absolute(const DeviationArgs<S>& a) {
    sums(a, [&]<int W>(int c) {
      return [x = a.x, mean = load<F<W>>(a.mean + c), rest = load<F<W>>(a.rest + c)](size_t i) {
        const F<W> d = get<W>(x + i) - mean - rest;
        return Two<W>{size_of<W>(d), sign_of<W>(d)};
      };
    });
  }

  static void count(const DeviationArgs<S>& a) {
    sums(a, [&]<int W>(int c) {
      return [x = a.x, mean = load<F<W>>(a.mean + c), rest = load<F<W>>(a.rest + c),
              largest = load<F<W>>(a.largest + c)](size_t i) {
        const F<W> d = get<W>(x + i) - mean - rest;
        const F<W> one = F<W>{} + 1.0f;
        const auto there = size_of<W>(d) == largest;
        return Two<W>{there ? one : F<W>{}, there ? sign_of<W>(d) : F<W>{}};
      };
    });
  }

  static void largest(const DeviationArgs<S>& a) {
    const size_t step = static_cast<size_t>(a.channels);
    for_each_column<L>(a.channels, [&]<int W>(int c) {
      const F<W> mean = load<F<W>>(a.mean + c), rest = load<F<W>>(a.rest + c);
      F<W> most{};
      const S* x = a.x + c;
      for (size_t r = 0; r < a.rows; ++r, x += step) {
        const F<W> size = size_of<W>(get<W>(x) - mean - rest);
        most = size > most ? size : most;
      }
      store(a.first + c, __builtin_convertvector(most, D<W>));
    });
  }

 private:
  /// `make`<W>(column) returns a function from an element's index in the matrix to its Two<W>.
  template <class Make>
  static void sums(const DeviationArgs<S>& a, const Make& make) {
    for (int c = 0; c < a.channels; ++c) a.first[c] = a.second[c] = 0.0;
    BlockSums block_sums;
    const size_t block = block_rows(a.channels), width = static_cast<size_t>(a.channels);
    const bool in_turns = rows_in_turns(a.rows, a.channels);
    for_each_panel(a.channels, [&](int first, int columns) {
      for (size_t begin = 0; begin < a.rows; begin += block) {
        const size_t n = a.rows - begin < block ? a.rows - begin : block;
        const size_t at = begin * width + static_cast<size_t>(first);
        block_sums.add_up<L>(n, a.channels, columns, in_turns, [&]<int W>(int c) {
          return [at, values = make.template operator()<W>(first + c)](size_t i) {
            return values(at + i);
          };
        });
        block_sums.add_to<L>(a.first + first, a.second + first, columns);
      }
    });
  }
};

}  // namespace
}  // namespace syncnorm::cpu
