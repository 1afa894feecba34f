// See image_checksum.h.
#include "engine/data/image_checksum.h"

#define XXH_INLINE_ALL
#include <xxhash.h>

namespace syncnorm {

static_assert(XXH_VERSION_NUMBER >= 800, "before xxHash 0.8.0 XXH3 gave other values");

std::uint64_t image_checksum(std::span<const std::uint8_t> bytes) {
  return __builtin_cpu_supports("avx2") ? image_checksum_avx2(bytes.data(), bytes.size())
                                        : image_checksum_baseline(bytes.data(), bytes.size());
}

std::uint64_t image_checksum_baseline(const std::uint8_t* bytes, std::size_t size) {
  return XXH3_64bits(bytes, size);
}

}  // namespace syncnorm
