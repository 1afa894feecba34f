// XXH64, a fast 64-bit content hash: tells ranks whether they read the same data.
//
// Not cryptographic: it finds accidents (another version, a damaged copy), not forgeries. What is
// read again and again has the faster image_checksum.h. Source: the xxHash library.
#pragma once

#include <cstdint>
#include <span>

namespace syncnorm {

/// XXH64 of `bytes`. The same on every machine.
std::uint64_t content_hash(std::span<const std::uint8_t> bytes, std::uint64_t seed = 0);

}  // namespace syncnorm
