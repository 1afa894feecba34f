// Draws scenes in fixed-point arithmetic; see scenes.h.
#include "engine/data/scenes.h"

#include <algorithm>
#include <array>
#include <cassert>
#include <cstddef>
#include <vector>

#include "base/philox.h"

namespace syncnorm {
namespace {

constexpr int kColors = 3;
using Color = std::array<std::int32_t, kColors>;

/// Uniform in [low, high].
std::int32_t uniform(RandomStream& random, std::int32_t low, std::int32_t high) {
  const auto range = static_cast<std::uint64_t>(high - low) + 1;
  return low + static_cast<std::int32_t>((range * random.next_bits()) >> 32);
}

Color color(RandomStream& random, std::int32_t low, std::int32_t high) {
  Color color{};
  for (std::int32_t& channel : color) channel = uniform(random, low, high);
  return color;
}

/// Returns random bytes, four per number drawn.
class RandomBytes {
 public:
  explicit RandomBytes(RandomStream& random) : random_(random) {}
  std::int32_t next() {
    if (left_ == 0) {
      bits_ = random_.next_bits();
      left_ = 4;
    }
    const auto byte = static_cast<std::int32_t>(bits_ & 0xFF);
    bits_ >>= 8;
    --left_;
    return byte;
  }

 private:
  RandomStream& random_;
  std::uint32_t bits_ = 0;
  int left_ = 0;
};

/// Smooth noise: random values at the corners of cells of 2^shift pixels, interpolated between them
/// by 3t² − 2t³ (Perlin's value noise).
class Octave {
 public:
  Octave(int height, int width, int shift, RandomStream& random) : shift_(shift) {
    const int cell = 1 << shift;
    top_ = uniform(random, 0, cell - 1);
    left_ = uniform(random, 0, cell - 1);
    const int rows = ((height - 1 + top_) >> shift) + 2;
    columns_ = ((width - 1 + left_) >> shift) + 2;
    RandomBytes bytes(random);
    corners_.resize(static_cast<std::size_t>(rows) * static_cast<std::size_t>(columns_));
    for (std::int32_t& corner : corners_) corner = bytes.next();
    row_.resize(static_cast<std::size_t>(columns_));
    for (std::int32_t i = 0; i < cell; ++i) {  // of 256
      const std::int32_t t = i << (kFinest - shift);
      weights_[static_cast<std::size_t>(i)] = (96 * t * t - 2 * t * t * t) >> 7;
    }
  }

  /// Adds `factor` times row y, of values 0..255, to sums[width].
  void add_row(int y, int width, std::int32_t factor, std::int32_t* sums) {
    const int mask = (1 << shift_) - 1;
    const std::int32_t* upper = corners_.data() + std::ptrdiff_t{(y + top_) >> shift_} * columns_;
    const std::int32_t down = weights_[static_cast<std::size_t>((y + top_) & mask)];
    for (std::size_t i = 0; i < row_.size(); ++i)
      row_[i] = upper[i] * (256 - down) + upper[i + row_.size()] * down;
    for (int x = 0; x < width; ++x) {
      const std::int32_t* corner = row_.data() + ((x + left_) >> shift_);
      const std::int32_t right = weights_[static_cast<std::size_t>((x + left_) & mask)];
      sums[x] += factor * ((corner[0] * (256 - right) + corner[1] * right) >> 16);
    }
  }

 private:
  static constexpr int kFinest = 5;  // weights are steps of 1/32 cell: cells have 32 pixels at most

  int shift_, columns_ = 0, top_ = 0, left_ = 0;
  std::vector<std::int32_t> corners_, row_;
  std::array<std::int32_t, 1 << kFinest> weights_{};
};

/// Source pixel and weight (of 256) of the one after it, for each of `count` pixels to which `size`
/// are scaled.
struct Tap {
  int first, next;
  std::int32_t weight;
};

void make_taps(int size, int count, std::vector<Tap>& taps) {
  taps.clear();
  for (int i = 0; i < count; ++i) {
    const std::int32_t center = (2 * i + 1) * size * 128 / count - 128;
    const std::int32_t at = std::clamp(center, 0, (size - 1) * 256);
    taps.push_back({at >> 8, std::min((at >> 8) + 1, size - 1), at & 255});
  }
}

/// Draws scenes one after another; reuses its working memory.
class ScenePainter {
 public:
  ScenePainter(const ScenesConfig& config, const ImageSet& garments)
      : config_(config), garments_(garments) {}

  void draw(RandomStream random, std::uint8_t* pixels, std::uint8_t* mask) {
    draw_ground(random, pixels, mask);
    const std::int32_t count = uniform(random, config_.objects[0], config_.objects[1]);
    for (std::int32_t i = 0; i < count; ++i) draw_garment(random, pixels, mask);
    illuminate(random, pixels);
  }

 private:
  /// Paints the ground: between a dark and a bright color, by noise of four octaves.
  void draw_ground(RandomStream& random, std::uint8_t* pixels, std::uint8_t* mask) {
    constexpr std::array<int, 4> kShifts = {5, 4, 3, 2};
    constexpr std::array<std::int32_t, 4> kFactors = {4, 2, 1, 1};
    const Color dark = color(random, 32, 112), bright = color(random, 128, 224);
    octaves_.clear();
    for (const int shift : kShifts)
      octaves_.emplace_back(config_.height, config_.width, shift, random);
    sums_.resize(static_cast<std::size_t>(config_.width));
    for (int y = 0; y < config_.height; ++y) {
      std::fill(sums_.begin(), sums_.end(), 0);
      for (std::size_t k = 0; k < octaves_.size(); ++k)
        octaves_[k].add_row(y, config_.width, kFactors[k], sums_.data());
      for (const std::int32_t sum : sums_) {
        const std::int32_t share = sum >> 3;  // of 256
        for (std::size_t c = 0; c < kColors; ++c)
          *pixels++ = static_cast<std::uint8_t>(dark[c] + (((bright[c] - dark[c]) * share) >> 8));
      }
    }
    std::fill_n(mask, std::size_t(config_.height) * std::size_t(config_.width), std::uint8_t{0});
  }

  /// Paints a garment over what is there: its pixels that are not nearly black.
  void draw_garment(RandomStream& random, std::uint8_t* pixels, std::uint8_t* mask) {
    constexpr std::int32_t kThreshold = 24, kSmallest = 205, kLargest = 512;  // scales: of 256
    const auto sample = static_cast<std::size_t>(random.below(garments_.size()));
    const auto label = static_cast<std::uint8_t>(garments_.labels[sample] + 1);
    const std::int32_t scale = uniform(random, kSmallest, kLargest);
    const int height = garments_.height * scale >> 8, width = garments_.width * scale >> 8;
    const int top = uniform(random, 0, config_.height - 1) - height / 2;
    const int left = uniform(random, 0, config_.width - 1) - width / 2;
    const Color dye = color(random, 128, 255);
    make_taps(garments_.height, height, rows_);
    make_taps(garments_.width, width, columns_);
    const std::uint8_t* image = garments_.image(sample);
    for (int y = std::max(0, -top); y < std::min(height, config_.height - top); ++y) {
      const Tap& row = rows_[static_cast<std::size_t>(y)];
      const std::uint8_t* upper = image + std::ptrdiff_t{row.first} * garments_.width;
      const std::uint8_t* lower = image + std::ptrdiff_t{row.next} * garments_.width;
      for (int x = std::max(0, -left); x < std::min(width, config_.width - left); ++x) {
        const Tap& column = columns_[static_cast<std::size_t>(x)];
        const auto mixed = [&column](const std::uint8_t* line) {
          return line[column.first] * (256 - column.weight) + line[column.next] * column.weight;
        };
        const std::int32_t value =
            (mixed(upper) * (256 - row.weight) + mixed(lower) * row.weight) >> 16;
        if (value <= kThreshold) continue;
        const std::ptrdiff_t at = std::ptrdiff_t{y + top} * config_.width + x + left;
        mask[at] = label;
        for (std::size_t c = 0; c < kColors; ++c)
          pixels[kColors * at + static_cast<std::ptrdiff_t>(c)] =
              static_cast<std::uint8_t>(value * dye[c] >> 8);
      }
    }
  }

  /// Applies the image's light, and grain.
  void illuminate(RandomStream& random, std::uint8_t* pixels) {
    constexpr std::int32_t kGrain = 16;  // largest deviation, of 255
    const std::int32_t gain = uniform(random, 64, 360), offset = uniform(random, 0, 96);  // of 256
    Color light = color(random, 176, 336);
    for (std::int32_t& channel : light) channel = channel * gain >> 8;
    const std::int32_t down = uniform(random, -100, 100), right = uniform(random, -100, 100);
    RandomBytes bytes(random);
    for (int y = 0; y < config_.height; ++y) {
      const std::int32_t of_row = 256 + down * (2 * y - config_.height) / config_.height;
      for (int x = 0; x < config_.width; ++x) {
        const std::int32_t here = of_row + right * (2 * x - config_.width) / config_.width;
        const std::int32_t grain = ((bytes.next() - 128) * kGrain) >> 7;
        for (std::size_t c = 0; c < kColors; ++c, ++pixels) {
          const std::int32_t lit = (std::max(0, *pixels + grain) * light[c] >> 8) * here >> 8;
          *pixels = static_cast<std::uint8_t>(std::min(lit + offset, 255));
        }
      }
    }
  }

  const ScenesConfig& config_;
  const ImageSet& garments_;
  std::vector<Octave> octaves_;
  std::vector<std::int32_t> sums_;
  std::vector<Tap> rows_, columns_;
};

}  // namespace

ImageSet make_scenes(const ScenesConfig& config, const ImageSet& garments, SyntheticSplit split,
                     std::uint64_t seed) {
  assert(garments.channels == 1 && garments.size() > 0);
  const int samples = split == SyntheticSplit::train ? config.train_samples : config.test_samples;
  check_split_size("data.scenes", samples, config.height, config.width, kColors);
  ImageSet set;
  set.height = config.height;
  set.width = config.width;
  set.channels = kColors;
  set.classes = garments.classes + 1;
  set.per_pixel = true;
  set.labels.resize(static_cast<std::size_t>(samples));
  set.pixels.resize(set.size() * set.image_size());
  set.masks.resize(set.size() * set.mask_size());
  ScenePainter painter(config, garments);
  for (std::size_t i = 0; i < set.size(); ++i)
    painter.draw(
        RandomStream(seed, RandomPurpose::fashion_scenes, static_cast<std::uint64_t>(split), i),
        set.pixels.data() + i * set.image_size(), set.masks.data() + i * set.mask_size());
  return set;
}

}  // namespace syncnorm
