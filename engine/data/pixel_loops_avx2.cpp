// The loops of pixel_loops_impl.h, compiled for AVX2 (see engine/CMakeLists.txt).
#include <immintrin.h>

#include <cstdint>

namespace syncnorm {
namespace {

using Floats = __m256;

inline void unpack(const std::uint8_t* bytes, Floats* values) {
  for (int i = 0; i < 4; ++i)
    values[i] = _mm256_cvtepi32_ps(
        _mm256_cvtepu8_epi32(_mm_loadl_epi64(reinterpret_cast<const __m128i*>(bytes + 8 * i))));
}

inline void pack(const Floats* values, std::uint8_t* bytes) {
  const __m256i low =
      _mm256_packs_epi32(_mm256_cvttps_epi32(values[0]), _mm256_cvttps_epi32(values[1]));
  const __m256i high =
      _mm256_packs_epi32(_mm256_cvttps_epi32(values[2]), _mm256_cvttps_epi32(values[3]));
  // Packing works per 128-bit half: first the lower halves of all four vectors, then the upper.
  const __m256i order = _mm256_setr_epi32(0, 4, 1, 5, 2, 6, 3, 7);
  _mm256_storeu_si256(reinterpret_cast<__m256i*>(bytes),
                      _mm256_permutevar8x32_epi32(_mm256_packus_epi16(low, high), order));
}

}  // namespace
}  // namespace syncnorm

#include "engine/data/pixel_loops_impl.h"

namespace syncnorm {

const PixelLoops pixel_loops_avx2 = kLoops;

}  // namespace syncnorm
