// XXH3, the checksum of an image in a pack: fast enough (with AVX2 three times as fast as copying
// from the page cache) to be taken whenever one is read.
//
// Compiled once for any processor and once for AVX2, and chosen at run time; both give the same.
// Not cryptographic. Source: the xxHash library, XXH3_64bits.
#pragma once

#include <cstddef>
#include <cstdint>
#include <span>

namespace syncnorm {

std::uint64_t image_checksum(std::span<const std::uint8_t> bytes);

// The checksum of `size` bytes. Code compiled for AVX2 takes no inline function from the library:
// the linker could pick that copy for all callers.
std::uint64_t image_checksum_baseline(const std::uint8_t* bytes, std::size_t size);
/// Requires a processor with AVX2.
std::uint64_t image_checksum_avx2(const std::uint8_t* bytes, std::size_t size);

}  // namespace syncnorm
