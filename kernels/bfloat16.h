// bfloat16, the upper half of a float: conversions for host and device code.
#pragma once

#include <bit>
#include <cstdint>

namespace syncnorm {

/// A stored value; arithmetic happens in float.
enum class BFloat16 : std::uint16_t {};

constexpr float to_float(BFloat16 value) {
  return std::bit_cast<float>(static_cast<std::uint32_t>(value) << 16);
}

/// Rounds to nearest, ties to even. Overflow gives an infinity; a nan stays a nan (made quiet).
constexpr BFloat16 to_bfloat16(float value) {
  const std::uint32_t bits = std::bit_cast<std::uint32_t>(value);
  if ((bits & 0x7FFFFFFFu) > 0x7F800000u)
    return static_cast<BFloat16>(static_cast<std::uint16_t>((bits >> 16) | 0x40u));
  const std::uint32_t rounded = bits + 0x7FFFu + ((bits >> 16) & 1u);
  return static_cast<BFloat16>(static_cast<std::uint16_t>(rounded >> 16));
}

}  // namespace syncnorm
