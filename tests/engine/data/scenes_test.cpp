// fashion_scenes: the same bytes everywhere, what the masks say, and how unlike the images are.
#include "engine/data/scenes.h"

#include <gtest/gtest.h>

#include <algorithm>
#include <array>
#include <cmath>
#include <filesystem>

#include "tests/engine/data/test_data.h"

namespace syncnorm {
namespace {

using testing::input_error_of;

/// Garments of 28 × 28: class k is a bright square of 12 + k pixels a side on black.
ImageSet squares() {
  ImageSet set;
  set.height = set.width = 28;
  set.channels = 1;
  set.classes = 10;
  for (int k = 0; k < 10; ++k) {
    set.labels.push_back(k);
    for (int y = 0; y < 28; ++y)
      for (int x = 0; x < 28; ++x) set.pixels.push_back(x < 12 + k && y < 12 + k ? 255 : 0);
  }
  return set;
}

ScenesConfig small() {
  ScenesConfig config;
  config.train_samples = 40;
  config.test_samples = 20;
  return config;
}

TEST(Scenes, SeedAndSplitMakeOtherScenes) {
  ScenesConfig config = small();
  config.test_samples = config.train_samples;
  const ImageSet garments = squares();
  const ImageSet one = make_scenes(config, garments, SyntheticSplit::train, 1);
  EXPECT_TRUE(one.per_pixel);
  EXPECT_EQ(one.classes, 11);
  EXPECT_EQ(one.labels, std::vector<std::int32_t>(40, 0));
  const ImageSet again = make_scenes(config, garments, SyntheticSplit::train, 1);
  EXPECT_EQ(again.pixels, one.pixels);
  EXPECT_EQ(again.masks, one.masks);
  EXPECT_NE(make_scenes(config, garments, SyntheticSplit::train, 2).masks, one.masks);
  EXPECT_NE(make_scenes(config, garments, SyntheticSplit::test, 1).masks, one.masks);
  // A scene does not depend on how many there are.
  config.train_samples = 7;
  const ImageSet few = make_scenes(config, garments, SyntheticSplit::train, 1);
  EXPECT_TRUE(std::equal(few.pixels.begin(), few.pixels.end(), one.pixels.begin()));
}

TEST(Scenes, ObjectsAreAsManyAsAsked) {
  ScenesConfig config = small();
  config.objects = {1, 1};
  const ImageSet one = make_scenes(config, squares(), SyntheticSplit::train, 3);
  std::vector<int> seen(11, 0);
  for (std::size_t i = 0; i < one.size(); ++i) {
    std::vector<int> here(11, 0);
    for (std::size_t p = 0; p < one.mask_size(); ++p) ++here.at(one.mask(i)[p]);
    EXPECT_LE(std::count_if(here.begin() + 1, here.end(), [](int count) { return count > 0; }), 1);
    EXPECT_GT(here[0], 96 * 96 / 2);
    for (std::size_t k = 1; k < 11; ++k) {
      // A square of 12 + k − 1 pixels, scaled by 0.8 to 2, and perhaps partly outside.
      EXPECT_LE(here[k], 4 * (12 + static_cast<int>(k)) * (12 + static_cast<int>(k)));
      seen[k] += here[k];
    }
  }
  EXPECT_GE(std::count_if(seen.begin() + 1, seen.end(), [](int count) { return count > 0; }), 7);
}

/// In one light an image's ground is alike: another image's is not.
TEST(Scenes, LightSetsImagesApart) {
  const ImageSet set = make_scenes(small(), squares(), SyntheticSplit::train, 5);
  double within = 0, total = 0, all = 0, squares_of_means = 0;
  for (std::size_t i = 0; i < set.size(); ++i) {
    double sum = 0, squares = 0;
    for (std::size_t v = 0; v < set.image_size(); ++v) {
      const double value = set.image(i)[v];
      sum += value;
      squares += value * value;
    }
    const double n = static_cast<double>(set.image_size()), mean = sum / n;
    within += squares / n - mean * mean;
    all += mean;
    squares_of_means += mean * mean;
  }
  const double n = static_cast<double>(set.size());
  within /= n;
  total = within + squares_of_means / n - all / n * (all / n);
  EXPECT_LT(within / total, 0.6) << "the share of the variance that is within images";
}

TEST(Scenes, SameBytesEverywhere) {
  if (!std::filesystem::exists("/usr/share/datasets/fashion-mnist/train-images-idx3-ubyte.gz")) {
    GTEST_SKIP() << "Debian's package dataset-fashion-mnist is not installed";
  }
  DataConfig config;
  config.dataset = DatasetKind::fashion_scenes;
  config.scenes.train_samples = 200;
  config.scenes.test_samples = 50;
  const Dataset dataset = load_dataset(config, 1, 16);
  EXPECT_EQ(dataset.fingerprint, "110bc6c042d3c164");
  EXPECT_EQ(dataset.class_names.size(), 11u);
  EXPECT_EQ(dataset.class_names.front(), "background");
  EXPECT_EQ(dataset.class_names.back(), "ankle boot");
  EXPECT_EQ(dataset.train.channels, 3);
  EXPECT_EQ(dataset.train.evaluation_height(), 96);
  std::array<std::size_t, 11> counts{};
  for (const std::uint8_t label : dataset.train.masks) ++counts.at(label);
  for (std::size_t k = 0; k < counts.size(); ++k) {
    const double share =
        static_cast<double>(counts[k]) / static_cast<double>(dataset.train.masks.size());
    EXPECT_GT(share, k == 0 ? 0.4 : 0.005) << k;
    EXPECT_LT(share, k == 0 ? 0.85 : 0.15) << k;
  }
  config.limit = 20;
  const Dataset cut = load_dataset(config, 1, 16);
  EXPECT_EQ(cut.train.masks.size(), 20 * cut.train.mask_size());
  EXPECT_EQ(cut.fingerprint, dataset.fingerprint);
  EXPECT_EQ(cut.mean, dataset.mean);
}

TEST(Scenes, TooManyForMemory) {
  ScenesConfig config;
  config.train_samples = 100000;
  EXPECT_EQ(input_error_of([&] { make_scenes(config, squares(), SyntheticSplit::train, 1); }),
            "data.scenes: size of a split: expected at most 1073741824 bytes, found "
            "100000×96×96×3");
}

}  // namespace
}  // namespace syncnorm
