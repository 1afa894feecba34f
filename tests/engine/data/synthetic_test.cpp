// The synthetic textures: the same bytes everywhere, balanced, and learnable but not by pixels.
#include "engine/data/synthetic.h"

#include <gtest/gtest.h>

#include <algorithm>
#include <cmath>
#include <complex>
#include <numbers>

#include "tests/engine/data/test_data.h"

namespace syncnorm {
namespace {

using testing::input_error_of;

std::vector<int> label_counts(const ImageSet& set) {
  std::vector<int> counts(static_cast<std::size_t>(set.classes), 0);
  for (const std::int32_t label : set.labels) ++counts.at(static_cast<std::size_t>(label));
  return counts;
}

TEST(Synthetic, SameBytesEverywhere) {
  DataConfig config;
  config.dataset = DatasetKind::synthetic;
  EXPECT_EQ(load_dataset(config, 1, 16).fingerprint, "c30eecacd757c031");
  config.synthetic = {100, 9, 12, 3, 200, 50};
  EXPECT_EQ(load_dataset(config, 1, 16).fingerprint, "b80012c055e2a411");
}

TEST(Synthetic, SeedAndSplitMakeOtherImages) {
  SyntheticConfig config;
  config.train_samples = config.test_samples = 40;
  const ImageSet one = make_synthetic(config, SyntheticSplit::train, 1);
  EXPECT_EQ(make_synthetic(config, SyntheticSplit::train, 1).pixels, one.pixels);
  EXPECT_NE(make_synthetic(config, SyntheticSplit::train, 2).pixels, one.pixels);
  EXPECT_NE(make_synthetic(config, SyntheticSplit::test, 1).pixels, one.pixels);
  EXPECT_NE(make_synthetic(config, SyntheticSplit::test, 1).labels, one.labels);
}

TEST(Synthetic, ClassesAreBalanced) {
  SyntheticConfig config;
  config.classes = 7;
  config.train_samples = 1000;  // 142 each, and 6 more
  const ImageSet set = make_synthetic(config, SyntheticSplit::train, 3);
  ASSERT_EQ(set.size(), 1000u);
  for (const int count : label_counts(set)) EXPECT_TRUE(count == 142 || count == 143) << count;
  EXPECT_FALSE(std::is_sorted(set.labels.begin(), set.labels.end()));
}

/// How strongly each spatial frequency is in an image, whatever its phase: what a small CNN can
/// see.
std::vector<double> spectrum(const ImageSet& set, std::size_t sample) {
  std::vector<double> power;
  const int n = set.width;
  for (int v = 0; v <= n / 3; ++v) {
    for (int u = -n / 3; u <= n / 3; ++u) {
      std::complex<double> sum = 0;
      for (int y = 0; y < n; ++y) {
        for (int x = 0; x < n; ++x) {
          const double value = set.image(sample)[y * n + x] - 128.0;
          sum += value * std::polar(1.0, 2 * std::numbers::pi * (u * x + v * y) / n);
        }
      }
      power.push_back(u == 0 && v == 0 ? 0.0 : std::log(1e4 + std::norm(sum)));
    }
  }
  return power;
}

std::vector<double> raw_pixels(const ImageSet& set, std::size_t sample) {
  return {set.image(sample), set.image(sample) + set.image_size()};
}

/// Accuracy on the test split of the nearest class mean in the space of `features`.
template <typename Features>
double nearest_mean_accuracy(const ImageSet& train, const ImageSet& test, Features features) {
  std::vector<std::vector<double>> means(static_cast<std::size_t>(train.classes));
  const std::vector<int> counts = label_counts(train);
  for (std::size_t i = 0; i < train.size(); ++i) {
    const std::vector<double> f = features(train, i);
    auto& mean = means[static_cast<std::size_t>(train.labels[i])];
    mean.resize(f.size(), 0.0);
    const int count = counts[static_cast<std::size_t>(train.labels[i])];
    for (std::size_t k = 0; k < f.size(); ++k) mean[k] += f[k] / count;
  }
  int right = 0;
  for (std::size_t i = 0; i < test.size(); ++i) {
    const std::vector<double> f = features(test, i);
    const auto distance = [&f](const std::vector<double>& mean) {
      double sum = 0;
      for (std::size_t k = 0; k < f.size(); ++k) sum += (f[k] - mean[k]) * (f[k] - mean[k]);
      return sum;
    };
    std::size_t best = 0;
    for (std::size_t c = 1; c < means.size(); ++c) {
      if (distance(means[c]) < distance(means[best])) best = c;
    }
    right += static_cast<int>(best) == test.labels[i];
  }
  return right / static_cast<double>(test.size());
}

TEST(Synthetic, ClassShowsInTheSpectrumAndNotInThePixels) {
  SyntheticConfig config;
  config.height = config.width = 16;
  config.train_samples = 2000;
  config.test_samples = 200;
  const ImageSet train = make_synthetic(config, SyntheticSplit::train, 1);
  const ImageSet test = make_synthetic(config, SyntheticSplit::test, 1);
  EXPECT_GT(nearest_mean_accuracy(train, test, spectrum), 0.7);
  EXPECT_LT(nearest_mean_accuracy(train, test, raw_pixels), 0.3);
}

TEST(Synthetic, BadSizes) {
  const auto error = [](SyntheticConfig config) {
    return input_error_of([&] { make_synthetic(config, SyntheticSplit::train, 1); });
  };
  EXPECT_EQ(error({0, 28, 28, 1, 100, 100}),
            "data.synthetic.classes: expected at least 1, found 0");
  EXPECT_EQ(error({10, 28, -1, 1, 100, 100}),
            "data.synthetic.width: expected at least 1, found -1");
  EXPECT_EQ(error({10, 28, 28, 1, 0, 100}),
            "data.synthetic.train_samples: expected at least 1, found 0");
  EXPECT_EQ(error({10, 100000, 100000, 3, 100000, 100}),
            "data.synthetic: size of a split: expected at most 1073741824 bytes, found "
            "100000×100000×100000×3");
}

}  // namespace
}  // namespace syncnorm
