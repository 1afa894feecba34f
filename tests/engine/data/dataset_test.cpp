// Loading by name: the real Fashion-MNIST, small IDX folders, limits, and what is wrong with them.
#include "engine/data/dataset.h"

#include <gtest/gtest.h>

#include <cmath>

#include "tests/engine/data/test_data.h"

namespace syncnorm {
namespace {

using testing::Bytes;
using testing::counting;
using testing::gzip;
using testing::idx_bytes;
using testing::input_error_of;
using testing::TemporaryFolder;

/// Six training and two test images of 2×3, some files gzipped.
void write_small_mnist(const TemporaryFolder& folder) {
  folder.write("train-images-idx3-ubyte", idx_bytes({6, 2, 3}, counting(36)));
  folder.write("train-labels-idx1-ubyte.gz", gzip(idx_bytes({6}, {5, 4, 3, 2, 1, 0})));
  folder.write("t10k-images-idx3-ubyte.gz", gzip(idx_bytes({2, 2, 3}, counting(12))));
  folder.write("t10k-labels-idx1-ubyte", idx_bytes({2}, {8, 9}));
}

DataConfig small_mnist(const TemporaryFolder& folder) {
  write_small_mnist(folder);
  DataConfig config;
  config.dataset = DatasetKind::mnist;
  config.path = folder.path();
  return config;
}

TEST(FashionMnist, IsWhatItShouldBe) {
  if (!std::filesystem::exists("/usr/share/datasets/fashion-mnist/train-images-idx3-ubyte.gz")) {
    GTEST_SKIP() << "Debian's package dataset-fashion-mnist is not installed";
  }
  const Dataset dataset = load_dataset(DataConfig{}, 1, 16);
  EXPECT_EQ(dataset.name, "fashion_mnist");
  EXPECT_EQ(dataset.train.size(), 60000u);
  EXPECT_EQ(dataset.test.size(), 10000u);
  EXPECT_EQ(dataset.train.image_size(), 784u);
  EXPECT_EQ(dataset.train.classes, 10);
  EXPECT_NEAR(dataset.mean.at(0), 0.28604f, 5e-6f);
  EXPECT_NEAR(dataset.stddev.at(0), 0.35302f, 5e-6f);
  const auto first_ten = [](const ImageSet& set) {
    return std::vector<std::int32_t>(set.labels.begin(), set.labels.begin() + 10);
  };
  EXPECT_EQ(first_ten(dataset.train), (std::vector<std::int32_t>{9, 0, 0, 3, 0, 2, 7, 2, 5, 5}));
  EXPECT_EQ(first_ten(dataset.test), (std::vector<std::int32_t>{9, 2, 1, 1, 6, 1, 4, 6, 5, 7}));
  EXPECT_EQ(dataset.fingerprint, "3dd8988098f38c8c");
}

TEST(Dataset, LoadsAFolder) {
  const TemporaryFolder folder;
  const Dataset dataset = load_dataset(small_mnist(folder), 1, 6);
  EXPECT_EQ(dataset.train.labels, (std::vector<std::int32_t>{5, 4, 3, 2, 1, 0}));
  EXPECT_EQ(dataset.train.pixels, counting(36));
  EXPECT_EQ(dataset.test.labels, (std::vector<std::int32_t>{8, 9}));
  EXPECT_EQ(dataset.test.pixels, counting(12));
}

TEST(Dataset, StatisticsAreThePopulationsPerChannel) {
  const ImageSet images = testing::counted_images(5, 3, 7, 3);
  std::vector<float> mean, stddev;
  channel_statistics(images, mean, stddev);
  ASSERT_EQ(mean.size(), 3u);
  for (std::size_t c = 0; c < 3; ++c) {
    double sum = 0, squares = 0;
    for (std::size_t i = c; i < images.pixels.size(); i += 3) {
      const double value = images.pixels[i] / 255.0;
      sum += value;
      squares += value * value;
    }
    const double n = static_cast<double>(images.pixels.size()) / 3;
    EXPECT_NEAR(mean[c], sum / n, 1e-7);
    EXPECT_NEAR(stddev[c], std::sqrt(squares / n - sum / n * sum / n), 1e-7);
  }
}

TEST(Dataset, ConstantChannelHasNoDeviation) {
  ImageSet images = testing::counted_images(3, 2, 2, 1);
  images.pixels.assign(images.pixels.size(), 51);
  std::vector<float> mean, stddev;
  channel_statistics(images, mean, stddev);
  EXPECT_FLOAT_EQ(mean[0], 0.2f);
  EXPECT_EQ(stddev[0], 0.0f);
}

TEST(Dataset, LimitCutsTheTrainingSplitOnly) {
  const TemporaryFolder folder;
  DataConfig config = small_mnist(folder);
  const Dataset whole = load_dataset(config, 1, 2);
  config.limit = 4;
  const Dataset cut = load_dataset(config, 1, 2);
  EXPECT_EQ(cut.train.labels, (std::vector<std::int32_t>{5, 4, 3, 2}));
  EXPECT_EQ(cut.train.pixels, counting(24));
  EXPECT_EQ(cut.test.labels, whole.test.labels);
  EXPECT_EQ(cut.mean, whole.mean);
  EXPECT_EQ(cut.stddev, whole.stddev);
  EXPECT_EQ(cut.fingerprint, whole.fingerprint);
  config.limit = 1000;
  EXPECT_EQ(load_dataset(config, 1, 2).train.size(), 6u);
}

TEST(Dataset, TooSmallForOneGlobalBatch) {
  const TemporaryFolder folder;
  DataConfig config = small_mnist(folder);
  config.limit = 5;
  config.validation = 2;
  EXPECT_EQ(load_dataset(config, 1, 3).train.size(), 5u);
  EXPECT_EQ(input_error_of([&] { load_dataset(config, 1, 4); }),
            "data: mnist: training samples: expected at least 4 (one global batch), found 3 (of 5, "
            "with limit 5 and validation 2)");
}

TEST(Dataset, FingerprintSeesPixelsLabelsAndShape) {
  const TemporaryFolder folder;
  const DataConfig config = small_mnist(folder);
  std::vector<std::string> seen = {load_dataset(config, 1, 1).fingerprint};
  const auto expect_new = [&] {
    const std::string now = load_dataset(config, 1, 1).fingerprint;
    EXPECT_EQ(now.size(), 16u);
    for (const std::string& before : seen) EXPECT_NE(now, before);
    seen.push_back(now);
    write_small_mnist(folder);
    EXPECT_EQ(load_dataset(config, 1, 1).fingerprint, seen[0]);
  };
  Bytes pixels = counting(36);
  pixels[35] ^= 1;
  folder.write("train-images-idx3-ubyte", idx_bytes({6, 2, 3}, pixels));
  expect_new();
  folder.write("t10k-labels-idx1-ubyte", idx_bytes({2}, {9, 8}));
  expect_new();
  folder.write("train-images-idx3-ubyte", idx_bytes({6, 3, 2}, counting(36)));
  folder.write("t10k-images-idx3-ubyte.gz", gzip(idx_bytes({2, 3, 2}, counting(12))));
  expect_new();
}

TEST(Dataset, SplitsMustHaveOneImageSize) {
  const TemporaryFolder folder;
  const DataConfig config = small_mnist(folder);
  folder.write("t10k-images-idx3-ubyte.gz", gzip(idx_bytes({2, 3, 2}, counting(12))));
  EXPECT_EQ(input_error_of([&] { load_dataset(config, 1, 1); }),
            folder.path() + "/t10k-images-idx3-ubyte.gz: image size: expected 2×3 (as in " +
                folder.path() + "/train-images-idx3-ubyte), found 3×2");
}

TEST(Dataset, MissingFilesSayWhatWasLookedFor) {
  const TemporaryFolder folder;
  DataConfig config;
  config.path = folder.path();
  EXPECT_EQ(input_error_of([&] { load_dataset(config, 1, 1); }),
            "data.path: fashion_mnist not found: no train-images-idx3-ubyte or "
            "train-images-idx3-ubyte.gz in " +
                folder.path() +
                " (it is empty); install Debian's package dataset-fashion-mnist, or set data.path "
                "to the folder "
                "with its four IDX files");
  config.dataset = DatasetKind::cifar100;
  EXPECT_EQ(input_error_of([&] { load_dataset(config, 1, 1); }),
            "data.path: cifar100 not found: no train.bin in " + folder.path() + " (it is empty), " +
                folder.path() +
                "/cifar-100-binary; download and unpack cifar-100-binary.tar.gz and set data.path "
                "to its folder");
  write_small_mnist(folder);
  std::filesystem::remove(folder.path() + "/t10k-labels-idx1-ubyte");
  config.dataset = DatasetKind::mnist;
  EXPECT_EQ(input_error_of([&] { load_dataset(config, 1, 1); }),
            folder.path() +
                "/t10k-labels-idx1-ubyte: expected it or the same with .gz in the folder, found "
                "neither; it has only t10k-images-idx3-ubyte.gz, train-images-idx3-ubyte and "
                "train-labels-idx1-ubyte.gz");
  folder.write("t10k-labels.idx1-ubyte", {});
  EXPECT_EQ(input_error_of([&] { load_dataset(config, 1, 1); }),
            folder.path() +
                "/t10k-labels-idx1-ubyte: expected it or the same with .gz in the folder, found "
                "neither; it has t10k-labels.idx1-ubyte: rename it to t10k-labels-idx1-ubyte");
}

TEST(Dataset, BadSettings) {
  DataConfig config;
  config.dataset = DatasetKind::synthetic;
  config.augment = {AugmentKind::cutout, AugmentKind::random_crop, AugmentKind::cutout};
  EXPECT_EQ(input_error_of([&] { load_dataset(config, 1, 1); }),
            "data.augment: cutout is listed twice; list it once");
}

}  // namespace
}  // namespace syncnorm
