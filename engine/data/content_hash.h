// XXH64, a fast 64-bit content hash: tells ranks whether they read the same data.
//
// Not cryptographic: it finds accidents (another version, a damaged copy), not forgeries.
// Source: Y. Collet, "xxHash fast digest algorithm", specification v0.1.1, XXH64.
#pragma once

#include <cstdint>
#include <span>

namespace syncnorm {

/// XXH64 of `bytes`. The same on every machine with little-endian or big-endian words.
std::uint64_t content_hash(std::span<const std::uint8_t> bytes, std::uint64_t seed = 0);

}  // namespace syncnorm
