// See content_hash.h.
#include "engine/data/content_hash.h"

#define XXH_INLINE_ALL
#include <xxhash.h>

namespace syncnorm {

std::uint64_t content_hash(std::span<const std::uint8_t> bytes, std::uint64_t seed) {
  return XXH64(bytes.data(), bytes.size(), seed);
}

}  // namespace syncnorm
