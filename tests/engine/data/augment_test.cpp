// Augmentation: exact geometry against a plain image-by-image oracle, statistics, and its keys.
#include "engine/data/augment.h"

#include <gtest/gtest.h>

#include <algorithm>
#include <cmath>
#include <optional>
#include <set>

#include "base/philox.h"
#include "engine/data/eval_chunks.h"
#include "tests/engine/data/test_data.h"

namespace syncnorm {
namespace {

using testing::counted_images;

const std::vector<float> kMean = {0.25f, 0.5f, 0.75f};
const std::vector<float> kStddev = {0.5f, 0.25f, 0.125f};

NormalizationTable table_for(const ImageSet& images) {
  const auto channels = static_cast<std::size_t>(images.channels);
  return {{kMean.begin(), kMean.begin() + images.channels},
          std::vector<float>(kStddev.data(), kStddev.data() + channels)};
}

std::vector<float> make(const ImageSet& images, std::uint32_t index,
                        const Augmentation& augmentation) {
  std::vector<float> out(images.image_size(), std::nanf(""));
  make_image(images, index, augmentation, out.data());
  return out;
}

// An oracle that does one augmentation after another on a picture whose pixels are source pixels,
// padding, or cut out.
struct Picture {
  enum : int { kPadding = -1, kCut = -2 };
  int height, width;
  std::vector<int> source;  // [height, width]: source pixel, kPadding or kCut

  explicit Picture(const ImageSet& images) : height(images.height), width(images.width) {
    for (int i = 0; i < height * width; ++i) source.push_back(i);
  }
  int at(int y, int x) const {
    if (y < 0 || y >= height || x < 0 || x >= width) return kPadding;
    return source[static_cast<std::size_t>(y * width + x)];
  }
  template <typename From>
  void remake(From from) {
    std::vector<int> next;
    for (int y = 0; y < height; ++y) {
      for (int x = 0; x < width; ++x) next.push_back(from(y, x));
    }
    source = next;
  }
};

Picture oracle(const ImageSet& images, std::uint32_t index, const Augmentation& augmentation) {
  Picture picture(images);
  const auto epoch = static_cast<std::uint64_t>(augmentation.epoch);
  for (const AugmentKind kind : augmentation.augment.kinds) {
    if (kind == AugmentKind::random_crop) {
      RandomStream random(augmentation.seed, RandomPurpose::random_crop, epoch, index);
      const int padding = augmentation.augment.crop_padding;
      const auto sides = static_cast<std::uint64_t>(2 * padding + 1);
      const int top = static_cast<int>(random.below(sides)) - padding;
      const int left = static_cast<int>(random.below(sides)) - padding;
      picture.remake([&](int y, int x) { return picture.at(y + top, x + left); });
    } else if (kind == AugmentKind::horizontal_flip) {
      RandomStream random(augmentation.seed, RandomPurpose::horizontal_flip, epoch, index);
      if (random.next_bits() < 0x80000000u) continue;
      picture.remake([&](int y, int x) { return picture.at(y, picture.width - 1 - x); });
    } else {
      RandomStream random(augmentation.seed, RandomPurpose::cutout, epoch, index);
      const int top = static_cast<int>(random.below(static_cast<std::uint64_t>(images.height))) -
                      augmentation.augment.cutout_size / 2;
      const int left = static_cast<int>(random.below(static_cast<std::uint64_t>(images.width))) -
                       augmentation.augment.cutout_size / 2;
      picture.remake([&](int y, int x) {
        const bool inside = y >= top && y < top + augmentation.augment.cutout_size && x >= left &&
                            x < left + augmentation.augment.cutout_size;
        return inside ? Picture::kCut : picture.at(y, x);
      });
    }
  }
  return picture;
}

std::vector<float> render(const ImageSet& images, std::uint32_t index, const Picture& picture) {
  std::vector<float> out;
  for (const int source : picture.source) {
    for (int c = 0; c < images.channels; ++c) {
      const int raw = source < 0 ? 0 : images.image(index)[source * images.channels + c];
      const double mean = static_cast<double>(kMean[static_cast<std::size_t>(c)]);
      const double stddev = static_cast<double>(kStddev[static_cast<std::size_t>(c)]);
      out.push_back(source == Picture::kCut ? 0.0f
                                            : static_cast<float>((raw / 255.0 - mean) / stddev));
    }
  }
  return out;
}

/// Every order of augmentations in memory that is different in kind.
std::vector<std::vector<AugmentKind>> lists() {
  using enum AugmentKind;
  return {
      {},
      {random_crop},
      {horizontal_flip},
      {cutout},
      {random_crop, horizontal_flip},
      {horizontal_flip, random_crop},
      {random_crop, cutout},
      {cutout, random_crop},
      {cutout, horizontal_flip},
      {random_crop, horizontal_flip, cutout},
      {cutout, random_crop, horizontal_flip},
      {horizontal_flip, cutout, random_crop},
      {random_crop, cutout, horizontal_flip},
  };
}

TEST(Augment, AgreesWithOneAugmentationAfterAnother) {
  for (const int channels : {1, 2, 3}) {
    const ImageSet images = counted_images(40, 7, 5, channels);
    const NormalizationTable table = table_for(images);
    for (const auto& kinds : lists()) {
      for (const int padding : {0, 2, 9}) {  // 9: the image may be cropped away entirely
        for (const int size : {1, 3, 4, 20}) {
          const Augmentation augmentation = {{kinds, padding, size}, 11, 3, &table};
          for (std::uint32_t index = 0; index < images.size(); ++index) {
            ASSERT_EQ(make(images, index, augmentation),
                      render(images, index, oracle(images, index, augmentation)))
                << "list of " << kinds.size() << ", padding " << padding << ", cutout " << size
                << ", sample " << index;
          }
        }
      }
    }
  }
}

TEST(Augment, MasksFollowTheirImages) {
  const ImageSet images = testing::counted_masks(40, 7, 5, 3);
  const NormalizationTable table = table_for(images);
  std::vector<std::uint8_t> mask(images.mask_size());
  for (const auto& kinds : lists()) {
    for (const int padding : {0, 2, 9}) {
      const Augmentation augmentation = {{kinds, padding, 3}, 11, 3, &table};
      for (std::uint32_t index = 0; index < images.size(); ++index) {
        const Picture picture = oracle(images, index, augmentation);
        std::fill(mask.begin(), mask.end(), std::uint8_t{77});
        make_mask(images, index, augmentation, mask.data());
        for (std::size_t i = 0; i < mask.size(); ++i)
          ASSERT_EQ(mask[i],
                    picture.source[i] < 0 ? kIgnoredPixel : images.mask(index)[picture.source[i]])
              << "list of " << kinds.size() << ", padding " << padding << ", sample " << index;
      }
    }
  }
}

/// A mask that is the first channel of its image comes out as that channel of the made image.
TEST(Augment, AMaskOfAnImagesOwnPixelsFollowsItExactly) {
  ImageSet images = testing::counted_masks(64, 9, 11, 3, 255);
  for (std::size_t i = 0; i < images.masks.size(); ++i)
    images.masks[i] = images.pixels[3 * i] = static_cast<std::uint8_t>(1 + images.masks[i] % 254);
  const NormalizationTable bytes({0.0f, 0.0f, 0.0f}, {1.0f, 1.0f, 1.0f});
  using enum AugmentKind;
  const Augmentation augmentation = {{{random_crop, horizontal_flip, cutout}, 3, 4}, 2, 5, &bytes};
  std::vector<std::uint8_t> mask(images.mask_size());
  std::size_t ignored = 0;
  for (std::uint32_t index = 0; index < images.size(); ++index) {
    make_mask(images, index, augmentation, mask.data());
    const std::vector<float> image = make(images, index, augmentation);
    for (std::size_t i = 0; i < mask.size(); ++i) {
      ignored += mask[i] == kIgnoredPixel;
      ASSERT_EQ(std::lround(255.0f * image[3 * i]), mask[i] == kIgnoredPixel ? 0 : mask[i]);
    }
  }
  EXPECT_GT(ignored, images.size() * 10);  // padding and cutout occur
}

TEST(Augment, CropShiftsByEveryOffsetEquallyOften) {
  ImageSet images = counted_images(5000, 9, 9, 1);
  images.pixels.assign(images.pixels.size(), 0);
  for (std::size_t i = 0; i < images.size(); ++i) images.pixels[i * 81 + 4 * 9 + 4] = 255;
  const NormalizationTable table({0.0f}, {1.0f});
  const Augmentation augmentation = {{{AugmentKind::random_crop}, 2, 1}, 5, 0, &table};
  std::vector<int> counts(81, 0);
  for (std::uint32_t i = 0; i < images.size(); ++i) {
    const std::vector<float> out = make(images, i, augmentation);
    const auto bright = std::find(out.begin(), out.end(), 1.0f);
    ASSERT_NE(bright, out.end());
    ++counts[static_cast<std::size_t>(bright - out.begin())];
  }
  for (int y = 0; y < 9; ++y) {
    for (int x = 0; x < 9; ++x) {
      const bool reachable = std::abs(y - 4) <= 2 && std::abs(x - 4) <= 2;
      EXPECT_NEAR(counts[static_cast<std::size_t>(y * 9 + x)], reachable ? 200 : 0,
                  reachable ? 70 : 0);  // 5 standard deviations
    }
  }
}

TEST(Augment, FlipsHalfOfTheImages) {
  const ImageSet images = counted_images(4000, 1, 4, 1);
  const NormalizationTable table({0.0f}, {1.0f});
  const Augmentation augmentation = {{{AugmentKind::horizontal_flip}, 0, 1}, 5, 0, &table};
  int flipped = 0;
  for (std::uint32_t i = 0; i < images.size(); ++i) {
    std::vector<float> plain(4);
    make_plain_image(images, images.image(i), table, plain.data());
    const std::vector<float> out = make(images, i, augmentation);
    const std::vector<float> mirrored(plain.rbegin(), plain.rend());
    ASSERT_TRUE(out == plain || out == mirrored);
    flipped += out == mirrored;
  }
  EXPECT_NEAR(flipped, 2000, 158);  // 5 standard deviations
}

TEST(Augment, CutoutCentreIsUniformAndItsSquareIsClipped) {
  ImageSet images = counted_images(3000, 6, 6, 1);
  images.pixels.assign(images.pixels.size(), 255);
  const NormalizationTable table({0.0f}, {1.0f});
  const Augmentation augmentation = {{{AugmentKind::cutout}, 0, 2}, 5, 0, &table};
  std::vector<int> areas(5, 0);
  for (std::uint32_t i = 0; i < images.size(); ++i) {
    const std::vector<float> out = make(images, i, augmentation);
    ++areas.at(static_cast<std::size_t>(std::count(out.begin(), out.end(), 0.0f)));
  }
  // The square begins one before the centre: 25 of 36 centres keep it whole, 10 cut a side, 1 two.
  EXPECT_EQ(areas[0] + areas[3], 0);
  EXPECT_NEAR(areas[4], 3000 * 25 / 36, 126);
  EXPECT_NEAR(areas[2], 3000 * 10 / 36, 123);
  EXPECT_NEAR(areas[1], 3000 / 36, 45);
}

TEST(Augment, KeyedBySeedEpochAndSample) {
  ImageSet images = counted_images(200, 8, 8, 1);
  for (std::size_t i = 1; i < images.size(); ++i) {  // one picture, so only the key can differ
    std::copy_n(images.pixels.begin(), 64, images.pixels.begin() + static_cast<long>(i * 64));
  }
  const NormalizationTable table = table_for(images);
  const AugmentConfig all = {
      {AugmentKind::random_crop, AugmentKind::horizontal_flip, AugmentKind::cutout}, 3, 3};
  std::set<std::vector<float>> seen;
  for (std::uint32_t i = 0; i < images.size(); ++i)
    seen.insert(make(images, i, {all, 1, 0, &table}));
  EXPECT_GT(seen.size(), 180u);
  int same_epoch = 0, same_seed = 0;
  for (std::uint32_t i = 0; i < images.size(); ++i) {
    const std::vector<float> out = make(images, i, {all, 1, 0, &table});
    EXPECT_EQ(out, make(images, i, {all, 1, 0, &table}));
    same_epoch += out == make(images, i, {all, 1, 1, &table});
    same_seed += out == make(images, i, {all, 2, 0, &table});
  }
  EXPECT_LT(same_epoch, 10);
  EXPECT_LT(same_seed, 10);
}

TEST(Normalization, ScalesThenNormalizesAndOnlyCentresAConstantChannel) {
  const NormalizationTable table({0.5f, 0.2f}, {0.25f, 0.0f});
  EXPECT_EQ(table.channels(), 2);
  EXPECT_EQ(table.channel(0)[0], -2.0f);
  EXPECT_EQ(table.channel(0)[255], 2.0f);
  EXPECT_FLOAT_EQ(table.channel(1)[255], 0.8f);
  EXPECT_NEAR(table.channel(1)[51], 0.0f, 1e-8f);
}

TEST(EvalChunks, CoverTheSplitInOrder) {
  for (const int samples : {0, 1, 9, 10, 11, 100}) {
    const EvalChunks chunks = {samples, 10};
    int position = 0;
    for (int i = 0; i < chunks.count(); ++i) {
      EXPECT_EQ(chunks.positions(i).begin, position);
      EXPECT_GE(chunks.positions(i).size(), 1);
      EXPECT_LE(chunks.positions(i).size(), 10);
      position = chunks.positions(i).end;
    }
    EXPECT_EQ(position, samples);
  }
}

TEST(EvalChunks, TheLastOneTakesWhatRemains) {
  for (const auto& [samples, sizes] : std::vector<std::pair<int, std::vector<int>>>{
           {9, {9}}, {10, {10}}, {11, {11}}, {20, {10, 10}}, {29, {10, 19}}, {30, {10, 10, 10}}}) {
    const EvalChunks chunks = {samples, 10, true};
    ASSERT_EQ(chunks.count(), static_cast<int>(sizes.size())) << samples;
    int position = 0;
    for (int i = 0; i < chunks.count(); ++i) {
      EXPECT_EQ(chunks.positions(i).begin, position);
      EXPECT_EQ(chunks.positions(i).size(), sizes[static_cast<std::size_t>(i)]) << samples;
      position = chunks.positions(i).end;
    }
    EXPECT_EQ(position, samples);
  }
}

TEST(EvalFeed, FillPadsWithZeros) {
  const ImageSet images = counted_images(6, 2, 2, 3);
  const NormalizationTable table = table_for(images);
  const std::vector<std::uint32_t> indices = {5, 2};
  std::vector<float> out(4 * 12, 99.0f);
  EvalFeed feed(images, table, {indices}, indices, 4, out.data());
  EXPECT_EQ(feed.next().labels, (std::vector<std::int32_t>{5, 2, 0, 0}));
  for (std::size_t i = 0; i < 24; ++i) {
    const std::size_t c = i % 3;
    const float raw = images.image(indices[i / 12])[i % 12];
    EXPECT_NEAR(out[i], (raw / 255.0f - kMean[c]) / kStddev[c], 1e-5f);
  }
  for (std::size_t i = 24; i < 48; ++i) EXPECT_EQ(out[i], 0.0f);
}

TEST(EvalFeed, MasksArePlainAndIgnoredAfterTheSamples) {
  const ImageSet images = testing::counted_masks(6, 2, 3, 3);
  const NormalizationTable table = table_for(images);
  const std::vector<std::uint32_t> indices = {5, 2};
  std::vector<float> out(4 * images.evaluation_size(), 99.0f);
  EvalFeed feed(images, table, {indices}, indices, 4, out.data());
  const EvalBatch& batch = feed.next();
  ASSERT_NE(batch.masks, nullptr);
  EXPECT_EQ(reinterpret_cast<std::uintptr_t>(batch.masks) % 64, 0u);
  std::vector<std::uint8_t> expected(4 * 6, kIgnoredPixel);
  std::copy_n(images.mask(5), 6, expected.begin());
  std::copy_n(images.mask(2), 6, expected.begin() + 6);
  EXPECT_EQ(std::vector<std::uint8_t>(batch.masks, batch.masks + 24), expected);
}

}  // namespace
}  // namespace syncnorm
