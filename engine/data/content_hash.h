// XXH64, a fast 64-bit content hash by which ranks check that they read the same data.
//
// It is not cryptographic: it detects accidents (another version, a damaged copy), not forgeries.
// Data that is read repeatedly uses the faster image_checksum.h. Source: the xxHash library.
#pragma once

#include <cstdint>
#include <span>

namespace syncnorm {

/// Returns the XXH64 of `bytes`, the same on every machine.
std::uint64_t content_hash(std::span<const std::uint8_t> bytes, std::uint64_t seed = 0);

}  // namespace syncnorm
