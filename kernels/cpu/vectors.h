// Vectors of L floats, reading and writing stored values as such vectors, and the order in which
// the loops walk a row-major matrix [rows, channels].
//
// Included by exactly three files, each compiled for its own instruction set. Everything is in an
// unnamed namespace, so that the linker cannot pick code compiled for AVX for the baseline. For the
// same reason nothing here calls the library.
#pragma once

#include <immintrin.h>

#include <cstddef>
#include <cstdint>

#include "kernels/bfloat16.h"

namespace syncnorm::cpu {
namespace {

using std::size_t;

template <int L>
struct Vec {
  using Float __attribute__((vector_size(L * 4))) = float;
  using Double __attribute__((vector_size(L * 8))) = double;
  using Bits __attribute__((vector_size(L * 4))) = std::uint32_t;
  using Half __attribute__((vector_size(L * 2))) = std::uint16_t;
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

/// Reads L stored values.
template <int L>
inline F<L> get(const float* p) {
  return load<F<L>>(p);
}
template <int L>
inline F<L> get(const BFloat16* p) {
  using Bits = typename Vec<L>::Bits;
  const Bits wide = __builtin_convertvector(load<typename Vec<L>::Half>(p), Bits) << 16;
  return load<F<L>>(&wide);
}

/// Rounds `v` to bf16, as 16-bit patterns: the vector form of to_bfloat16() in kernels/bfloat16.h.
template <int L>
inline typename Vec<L>::Half rounded(F<L> v) {
  using Bits = typename Vec<L>::Bits;
  const Bits bits = load<Bits>(&v);
  const Bits nearest = bits + 0x7FFFu + ((bits >> 16) & 1u);
  const Bits kept = (bits & 0x7FFFFFFFu) > 0x7F800000u ? (bits | 0x400000u) : nearest;
  return __builtin_convertvector(kept >> 16, typename Vec<L>::Half);
}

/// Returns `v` as it will be read back from storage `S`.
template <class S, int L>
inline F<L> as_stored(F<L> v) {
  if constexpr (sizeof(S) == sizeof(float)) {
    return v;
  } else {
    const typename Vec<L>::Half half = rounded<L>(v);
    return get<L>(reinterpret_cast<const BFloat16*>(&half));
  }
}

template <int L>
inline void put(float* p, F<L> v) {
  store(p, v);
}
template <int L>
inline void put(BFloat16* p, F<L> v) {
  store(p, rounded<L>(v));
}

/// Writes like put(), but with a non-temporal store, which avoids reading the line before writing
/// it; p is aligned to the vector.
template <int L>
inline void stream(float* p, F<L> v) {
  if constexpr (L == 16) _mm512_stream_ps(p, reinterpret_cast<__m512>(v));
  if constexpr (L == 8) _mm256_stream_ps(p, reinterpret_cast<__m256>(v));
  if constexpr (L == 4) _mm_stream_ps(p, reinterpret_cast<__m128>(v));
  if constexpr (L == 1) *p = v[0];
}
template <int L>
inline void stream(BFloat16* p, F<L> v) {
  const typename Vec<L>::Half half = rounded<L>(v);
  if constexpr (L == 16)
    _mm256_stream_si256(reinterpret_cast<__m256i*>(p), load<__m256i>(&half));
  else if constexpr (L == 8)
    _mm_stream_si128(reinterpret_cast<__m128i*>(p), load<__m128i>(&half));
  else
    store(p, half);
}

template <bool kStream, int L, class S>
inline void write(S* p, F<L> v) {
  if constexpr (kStream)
    stream<L>(p, v);
  else
    put<L>(p, v);
}

/// Returns true when rows of `channels` values at `p` are whole cache lines; only those are worth
/// streaming.
template <class S>
inline bool whole_lines(const S* p, int channels) {
  constexpr std::uintptr_t kLine = 64;
  return reinterpret_cast<std::uintptr_t>(p) % kLine == 0 &&
         static_cast<size_t>(channels) * sizeof(S) % kLine == 0;
}

/// Returns true when a few rows of the matrix may be read interleaved. Where rows are long and come
/// from memory, that defeats the prefetchers (measured: half the bandwidth).
inline bool rows_in_turns(size_t rows, int channels) {
  constexpr size_t kNear = size_t{1} << 18;  // values
  return channels <= 64 || rows * static_cast<size_t>(channels) <= kNear;
}

/// Calls body<4>(first row) for groups of four rows, which share what is loaded per column, then
/// body<1>(row) for the remaining rows; unless `in_turns`, only body<1>.
template <class Body>
inline void for_each_row_group(size_t rows, bool in_turns, const Body& body) {
  size_t r = 0;
  if (in_turns)
    for (; r + 4 <= rows; r += 4) body.template operator()<4>(r);
  for (; r < rows; ++r) body.template operator()<1>(r);
}

/// Calls body<L>(i) for vectors of L values, then body<1>(i) for the remaining values.
template <int L, class Body>
inline void for_each_value(size_t count, const Body& body) {
  size_t i = 0;
  for (; i + L <= count; i += L) body.template operator()<L>(i);
  for (; i < count; ++i) body.template operator()<1>(i);
}

/// Calls body<L>(column) for vectors of L columns, then body<1>(column) for the remaining columns.
template <int L, class Body>
inline void for_each_column(int channels, const Body& body) {
  int c = 0;
  for (; c + L <= channels; c += L) body.template operator()<L>(c);
  for (; c < channels; ++c) body.template operator()<1>(c);
}

/// Sums pairwise, so that the order is fixed and the dependency chain short.
template <int R, int L>
inline F<L> sum_of(const F<L> (&v)[R]) {
  if constexpr (R == 4)
    return (v[0] + v[1]) + (v[2] + v[3]);
  else
    return v[0];
}

}  // namespace
}  // namespace syncnorm::cpu
