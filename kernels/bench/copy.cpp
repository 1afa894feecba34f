// See copy.h. The loops use intrinsics because compilers turn plainer ones into a call of memcpy,
// which chooses between the two kinds of store by itself.
#include "kernels/bench/copy.h"

#include <immintrin.h>

namespace syncnorm {
namespace {

constexpr std::size_t kBlock = 32;  // values per iteration: two cache lines

[[gnu::target("avx")]] void copy_blocks_avx(const float* from, float* to, std::size_t count) {
  for (std::size_t i = 0; i < count; i += kBlock) {
    __m256 part[4];
    for (int p = 0; p < 4; ++p) part[p] = _mm256_load_ps(from + i + 8 * p);
    // Hides the values from the compiler, which would otherwise call memcpy.
    asm volatile("" : "+x"(part[0]), "+x"(part[1]), "+x"(part[2]), "+x"(part[3]));
    for (int p = 0; p < 4; ++p) _mm256_store_ps(to + i + 8 * p, part[p]);
  }
}

[[gnu::target("avx")]] void stream_blocks_avx(const float* from, float* to, std::size_t count) {
  for (std::size_t i = 0; i < count; i += kBlock)
    for (std::size_t p = 0; p < kBlock; p += 8)
      _mm256_stream_ps(to + i + p, _mm256_load_ps(from + i + p));
}

void copy_blocks_sse(const float* from, float* to, std::size_t count) {
  for (std::size_t i = 0; i < count; i += 4) {
    __m128 part = _mm_load_ps(from + i);
    asm volatile("" : "+x"(part));
    _mm_store_ps(to + i, part);
  }
}

void stream_blocks_sse(const float* from, float* to, std::size_t count) {
  for (std::size_t i = 0; i < count; i += 4) _mm_stream_ps(to + i, _mm_load_ps(from + i));
}

using CopyBlocks = void (*)(const float*, float*, std::size_t);

void copy_all(CopyBlocks blocks, const float* from, float* to, std::size_t count) {
  const std::size_t whole = count / kBlock * kBlock;
  blocks(from, to, whole);
  for (std::size_t i = whole; i < count; ++i) to[i] = from[i];
}

}  // namespace

void copy_plainly(const float* from, float* to, std::size_t count) {
  copy_all(__builtin_cpu_supports("avx") ? copy_blocks_avx : copy_blocks_sse, from, to, count);
}

void copy_past_caches(const float* from, float* to, std::size_t count) {
  copy_all(__builtin_cpu_supports("avx") ? stream_blocks_avx : stream_blocks_sse, from, to, count);
  _mm_sfence();  // timed too: until here the stores may not have reached memory
}

}  // namespace syncnorm
