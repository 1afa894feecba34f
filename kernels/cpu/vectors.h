// Vectors of L floats, stored values read and written as such vectors, and the order in which the
// loops walk a row-major matrix [rows, channels].
//
// Included by exactly the three files that are each compiled for their own instruction set;
// everything is in an unnamed namespace so that no code compiled for AVX can be picked by the
// linker for the baseline. For the same reason nothing here calls the library.
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

/// L stored values.
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

/// What is stored of `v`, as 16-bit patterns: to_bfloat16() of kernels/bfloat16.h for vectors.
template <int L>
inline typename Vec<L>::Half rounded(F<L> v) {
  using Bits = typename Vec<L>::Bits;
  const Bits bits = load<Bits>(&v);
  const Bits nearest = bits + 0x7FFFu + ((bits >> 16) & 1u);
  const Bits kept = (bits & 0x7FFFFFFFu) > 0x7F800000u ? (bits | 0x400000u) : nearest;
  return __builtin_convertvector(kept >> 16, typename Vec<L>::Half);
}

/// `v` as it will be read back from storage `S`.
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

/// The same to memory, past the caches, so that the line is not read before it is written; p is
/// aligned to the vector.
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

/// Whether rows of `channels` values at `p` are whole cache lines, the only ones worth streaming.
template <class S>
inline bool whole_lines(const S* p, int channels) {
  constexpr std::uintptr_t kLine = 64;
  return reinterpret_cast<std::uintptr_t>(p) % kLine == 0 &&
         static_cast<size_t>(channels) * sizeof(S) % kLine == 0;
}

/// Whether rows of the matrix that lie a few apart may be read in turns. Where rows are long and
/// come from memory, that defeats the prefetchers (measured: half the bandwidth).
inline bool rows_in_turns(size_t rows, int channels) {
  constexpr size_t kNear = size_t{1} << 18;  // values
  return channels <= 64 || rows * static_cast<size_t>(channels) <= kNear;
}

/// Calls body<R>(first row) for groups of four rows that are worked on together and share what is
/// loaded per column, then for single ones; only for those unless `in_turns`.
template <class Body>
inline void for_each_row_group(size_t rows, bool in_turns, const Body& body) {
  size_t r = 0;
  if (in_turns)
    for (; r + 4 <= rows; r += 4) body.template operator()<4>(r);
  for (; r < rows; ++r) body.template operator()<1>(r);
}

/// Calls body<L>(column) for vectors of L columns, then single ones.
template <int L, class Body>
inline void for_each_column(int channels, const Body& body) {
  int c = 0;
  for (; c + L <= channels; c += L) body.template operator()<L>(c);
  for (; c < channels; ++c) body.template operator()<1>(c);
}

/// Pairwise, so that the order is fixed and short.
template <int R, int L>
inline F<L> sum_of(const F<L> (&v)[R]) {
  if constexpr (R == 4)
    return (v[0] + v[1]) + (v[2] + v[3]);
  else
    return v[0];
}

}  // namespace
}  // namespace syncnorm::cpu
