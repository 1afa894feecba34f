// Philox4x32-10, the counter-based generator of all random numbers in syncnorm.
//
// A number is a pure function of (seed, purpose, epoch or step, index, block), so it depends
// neither on the rank that draws it nor on how many were drawn before. Source: Salmon et al.,
// "Parallel random numbers: as easy as 1, 2, 3", SC 2011. Plain C++ that both host and device
// compilers accept.
#pragma once

#include <array>
#include <cmath>
#include <cstdint>

#include "base/host_device.h"

namespace syncnorm {

/// The purpose of a stream of random numbers. It is part of the key, so no two uses share numbers.
enum class RandomPurpose : std::uint32_t {
  shuffle = 1,
  validation_split = 2,
  random_crop = 3,
  horizontal_flip = 4,
  cutout = 5,
  synthetic_data = 6,
  initialization = 7,
  dropout = 8,
  norm_noise = 9,          // per channel and step
  norm_sample_noise = 10,  // per sample, channel and step
  random_resized_crop = 11,
  color_jitter = 12,
  fashion_scenes = 13,
  random_scale = 14,
};

using PhiloxBlock = std::array<std::uint32_t, 4>;
__extension__ typedef unsigned __int128 Uint128;  // __extension__: quiet under -Wpedantic

/// Ten rounds of Philox4x32 on `counter` under `key`.
constexpr PhiloxBlock philox4x32(PhiloxBlock counter, std::uint32_t key0, std::uint32_t key1) {
  for (int round = 0; round < 10; ++round) {
    const std::uint64_t p0 = std::uint64_t{0xD2511F53u} * counter[0];
    const std::uint64_t p1 = std::uint64_t{0xCD9E8D57u} * counter[2];
    counter = {
        static_cast<std::uint32_t>(p1 >> 32) ^ counter[1] ^ key0, static_cast<std::uint32_t>(p1),
        static_cast<std::uint32_t>(p0 >> 32) ^ counter[3] ^ key1, static_cast<std::uint32_t>(p0)};
    key0 += 0x9E3779B9u;
    key1 += 0xBB67AE85u;
  }
  return counter;
}

/// Uniform in [0, 1), with 24 random bits, so exactly representable in f32.
constexpr float uniform_from_bits(std::uint32_t bits) {
  return static_cast<float>(bits >> 8) * 0x1.0p-24f;
}

/// The random numbers of one (seed, purpose, time, index), drawn in order: `time` is the epoch or
/// step, `index` the global sample index (or parameter number, ...). Cheap to construct and to
/// copy.
class RandomStream {
 public:
  constexpr RandomStream(std::uint64_t seed, RandomPurpose purpose, std::uint64_t time,
                         std::uint64_t index)
      : key0_(static_cast<std::uint32_t>(seed) ^ (static_cast<std::uint32_t>(purpose) << 24)),
        key1_(static_cast<std::uint32_t>(seed >> 32) ^ static_cast<std::uint32_t>(time >> 32)),
        counter_{0, static_cast<std::uint32_t>(time), static_cast<std::uint32_t>(index),
                 static_cast<std::uint32_t>(index >> 32)} {}

  constexpr std::uint32_t next_bits() {
    if (used_ == 4) {
      block_ = philox4x32(counter_, key0_, key1_);
      ++counter_[0];
      used_ = 0;
    }
    return block_[static_cast<std::size_t>(used_++)];
  }

  /// Continues at number 4·block, for devices that draw blocks in parallel.
  constexpr void seek(std::uint32_t block) {
    counter_[0] = block;
    used_ = 4;
  }

  /// Uniform in [0, 1).
  constexpr float uniform() { return uniform_from_bits(next_bits()); }

  /// Uniform in [0, n), n ≥ 1, with negligible modulo bias (64-bit multiply-shift).
  constexpr std::uint64_t below(std::uint64_t n) {
    const std::uint64_t high = next_bits();
    const std::uint64_t bits = (high << 32) | next_bits();
    return static_cast<std::uint64_t>((static_cast<Uint128>(bits) * n) >> 64);
  }

  /// Standard normal (Box–Muller, one of the pair), in double so that differences in libm's f32
  /// rounding do not matter.
  SYNCNORM_HOST_DEVICE float normal() {
    const double u = (static_cast<double>(next_bits()) + 0.5) * 0x1.0p-32;
    const double v = static_cast<double>(next_bits()) * 0x1.0p-32;
    return static_cast<float>(std::sqrt(-2.0 * std::log(u)) * std::cos(2.0 * M_PI * v));
  }

 private:
  std::uint32_t key0_, key1_;
  PhiloxBlock counter_;
  PhiloxBlock block_{};
  int used_ = 4;
};

}  // namespace syncnorm
