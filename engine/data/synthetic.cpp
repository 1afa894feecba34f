// Draws gratings in fixed-point arithmetic; see synthetic.h.
#include "engine/data/synthetic.h"

#include <fmt/format.h>

#include <algorithm>
#include <utility>

#include "base/error.h"
#include "base/philox.h"
#include "engine/data/byte_reader.h"

namespace syncnorm {
namespace {

// Angles and phases are 32-bit fractions of a turn, so they wrap like angles.
constexpr std::uint32_t kQuarterTurn = std::uint32_t{1} << 30;
constexpr std::uint64_t kLabelOrder = ~std::uint64_t{0};  // stream index that no sample has

/// Returns a sine approximated by two parabolas (within 6%): `phase` in turns, result in [-4096,
/// 4096].
constexpr std::int32_t wave(std::uint32_t phase) {
  const std::int64_t x = static_cast<std::int32_t>(phase) >> 16;  // [-32768, 32768) is [-π, π)
  return static_cast<std::int32_t>((x * (32768 - (x < 0 ? -x : x))) >> 16);
}

/// Returns floor(range · fraction) for a fraction in units of 2^-32.
constexpr std::uint32_t scaled(std::uint32_t range, std::uint32_t fraction) {
  return static_cast<std::uint32_t>((std::uint64_t{range} * fraction) >> 32);
}

struct ClassTexture {
  std::uint32_t direction;  // a quarter turn at most
  std::uint32_t frequency;  // turns per pixel
  std::uint32_t hue;
};

/// Returns evenly distributed textures for any number of classes: multiples of the R3 sequence's
/// constants (M. Roberts, "The unreasonable effectiveness of quasirandom sequences", 2018), as
/// fractions of 2^32.
constexpr ClassTexture texture_of(std::uint32_t label) {
  constexpr std::uint32_t kLowest = 0x16000000;  // 0.086 turns per pixel
  constexpr std::uint32_t kSpan = 0x30000000;    // up to 0.273
  return {scaled(kQuarterTurn, label * 0xD1B54A33u), kLowest + scaled(kSpan, label * 0xABC98389u),
          label * 0x8CB92BA7u};
}

void draw_image(const SyntheticConfig& config, std::uint32_t label, RandomStream random,
                std::uint8_t* out) {
  const ClassTexture texture = texture_of(label);
  // Jitter: direction ±3°, frequency ±6%.
  const std::uint32_t direction =
      texture.direction + scaled(kQuarterTurn / 15, random.next_bits()) - kQuarterTurn / 30;
  const std::int64_t frequency = std::int64_t{texture.frequency} - texture.frequency / 16 +
                                 scaled(texture.frequency / 8, random.next_bits());
  const auto step_x =
      static_cast<std::uint32_t>((frequency * wave(direction + kQuarterTurn)) >> 12);
  const auto step_y = static_cast<std::uint32_t>((frequency * wave(direction)) >> 12);
  const std::uint32_t phase = random.next_bits();
  const auto contrast = static_cast<std::int32_t>(20 + scaled(50, random.next_bits()));
  const auto brightness = static_cast<std::int32_t>(96 + scaled(64, random.next_bits()));
  constexpr std::int32_t kNoise = 72;

  std::uint32_t bits = 0;
  bool spare = false;
  for (int y = 0; y < config.height; ++y) {
    for (int x = 0; x < config.width; ++x) {
      const std::uint32_t here =
          phase + step_x * static_cast<std::uint32_t>(x) + step_y * static_cast<std::uint32_t>(y);
      const std::int32_t grating = (contrast * wave(here)) >> 12;
      for (int c = 0; c < config.channels; ++c) {
        bits = spare ? bits >> 16 : random.next_bits();
        spare = !spare;
        // The sum of two bytes: triangular noise in [-255, 255].
        const std::int32_t noise =
            static_cast<std::int32_t>((bits & 0xFF) + ((bits >> 8) & 0xFF)) - 255;
        std::int32_t value = grating;
        if (config.channels > 1) {  // hue: share of the grating per channel, 1/4 to 1
          const auto turn = static_cast<std::uint32_t>((std::uint64_t{1} << 32) / config.channels);
          value =
              (value *
               (2560 + ((3 * wave(texture.hue + turn * static_cast<std::uint32_t>(c))) >> 3))) >>
              12;
        }
        value += brightness + ((kNoise * noise) >> 8);
        *out++ = static_cast<std::uint8_t>(std::clamp(value, 0, 255));
      }
    }
  }
}

const char* key_of(SyntheticSplit split) {
  return split == SyntheticSplit::train ? "train_samples" : "test_samples";
}

void check(const SyntheticConfig& config, SyntheticSplit split, int samples) {
  const auto positive = [](const char* key, int value) {
    if (value >= 1) return;
    throw InputError(fmt::format("data.synthetic.{}: expected at least 1, found {}", key, value));
  };
  positive("classes", config.classes);
  for (const auto& [key, value] :
       {std::pair(key_of(split), samples), std::pair("height", config.height),
        std::pair("width", config.width), std::pair("channels", config.channels)})
    positive(key, value);
  check_split_size("data.synthetic", samples, config.height, config.width, config.channels);
}

}  // namespace

void check_split_size(const char* section, int samples, int height, int width, int channels) {
  std::uint64_t bytes = 1;
  for (const int size : {samples, height, width, channels}) {
    bytes *= static_cast<std::uint64_t>(size);
    if (bytes > kMaxDataBytes)
      throw InputError(
          fmt::format("{}: size of a split: expected at most {} bytes, found {}×{}×{}×{}", section,
                      kMaxDataBytes, samples, height, width, channels));
  }
}

ImageSet make_synthetic(const SyntheticConfig& config, SyntheticSplit split, std::uint64_t seed) {
  const int samples = split == SyntheticSplit::train ? config.train_samples : config.test_samples;
  check(config, split, samples);
  ImageSet set;
  set.height = config.height;
  set.width = config.width;
  set.channels = config.channels;
  set.classes = config.classes;
  set.labels.resize(static_cast<std::size_t>(samples));
  set.pixels.resize(set.size() * set.image_size());
  for (std::size_t i = 0; i < set.size(); ++i) {
    set.labels[i] = static_cast<std::int32_t>(i % static_cast<std::size_t>(config.classes));
  }
  const auto time = static_cast<std::uint64_t>(split);
  RandomStream order(seed, RandomPurpose::synthetic_data, time, kLabelOrder);
  for (std::size_t i = set.size(); i > 1; --i) {
    std::swap(set.labels[i - 1], set.labels[static_cast<std::size_t>(order.below(i))]);
  }
  for (std::size_t i = 0; i < set.size(); ++i) {
    draw_image(config, static_cast<std::uint32_t>(set.labels[i]),
               RandomStream(seed, RandomPurpose::synthetic_data, time, i),
               set.pixels.data() + i * set.image_size());
  }
  return set;
}

}  // namespace syncnorm
