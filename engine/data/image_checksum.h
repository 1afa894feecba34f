// XXH3, the checksum of an image in a pack. With AVX2 it is three times as fast as copying from the
// page cache, so every image can be verified when read.
//
// It is compiled for any processor and for AVX2, and selected at run time; both give the same
// result. It is not cryptographic. Source: the xxHash library, XXH3_64bits.
#pragma once

#include <cstddef>
#include <cstdint>
#include <span>

namespace syncnorm {

std::uint64_t image_checksum(std::span<const std::uint8_t> bytes);

// Checksum of `size` bytes. Code compiled for AVX2 uses no inline function of the library: the
// linker could pick that copy for all callers.
std::uint64_t image_checksum_baseline(const std::uint8_t* bytes, std::size_t size);
/// Requires a processor with AVX2.
std::uint64_t image_checksum_avx2(const std::uint8_t* bytes, std::size_t size);

}  // namespace syncnorm
