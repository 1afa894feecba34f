// Compiled for AVX2 (see engine/CMakeLists.txt); see image_checksum.h.
#include "engine/data/image_checksum.h"

#define XXH_INLINE_ALL
#include <xxhash.h>

namespace syncnorm {

std::uint64_t image_checksum_avx2(const std::uint8_t* bytes, std::size_t size) {
  return XXH3_64bits(bytes, size);
}

}  // namespace syncnorm
