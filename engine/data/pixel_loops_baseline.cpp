// The loops of pixel_loops_impl.h for any x86-64 processor, and the selection of a table.
#include <emmintrin.h>

#include <cstdint>

namespace syncnorm {
namespace {

using Floats = __m128;

inline void unpack(const std::uint8_t* bytes, Floats* values) {
  const __m128i zero = _mm_setzero_si128();
  const __m128i all = _mm_loadu_si128(reinterpret_cast<const __m128i*>(bytes));
  const __m128i low = _mm_unpacklo_epi8(all, zero), high = _mm_unpackhi_epi8(all, zero);
  values[0] = _mm_cvtepi32_ps(_mm_unpacklo_epi16(low, zero));
  values[1] = _mm_cvtepi32_ps(_mm_unpackhi_epi16(low, zero));
  values[2] = _mm_cvtepi32_ps(_mm_unpacklo_epi16(high, zero));
  values[3] = _mm_cvtepi32_ps(_mm_unpackhi_epi16(high, zero));
}

inline void pack(const Floats* values, std::uint8_t* bytes) {
  const __m128i low = _mm_packs_epi32(_mm_cvttps_epi32(values[0]), _mm_cvttps_epi32(values[1]));
  const __m128i high = _mm_packs_epi32(_mm_cvttps_epi32(values[2]), _mm_cvttps_epi32(values[3]));
  _mm_storeu_si128(reinterpret_cast<__m128i*>(bytes), _mm_packus_epi16(low, high));
}

}  // namespace
}  // namespace syncnorm

#include "engine/data/pixel_loops_impl.h"

namespace syncnorm {

const PixelLoops pixel_loops_baseline = kLoops;

const PixelLoops& pixel_loops() {
  return __builtin_cpu_supports("avx2") ? pixel_loops_avx2 : pixel_loops_baseline;
}

}  // namespace syncnorm
