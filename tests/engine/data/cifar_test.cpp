// CIFAR's binary files, good and bad; every bad one with its exact message.
#include "engine/data/cifar.h"

#include <gtest/gtest.h>

#include <cmath>

#include "tests/engine/data/test_data.h"

namespace syncnorm {
namespace {

using testing::Bytes;
using testing::counting;
using testing::input_error_of;

/// Records of `labels` (each its label bytes), record r's value at plane c, pixel i: c·64 + (i + r)
/// % 64.
Bytes records(const std::vector<Bytes>& labels) {
  Bytes bytes;
  for (std::size_t r = 0; r < labels.size(); ++r) {
    bytes.insert(bytes.end(), labels[r].begin(), labels[r].end());
    for (std::size_t c = 0; c < 3; ++c) {
      for (std::size_t i = 0; i < 1024; ++i) {
        bytes.push_back(static_cast<std::uint8_t>(c * 64 + (i + r) % 64));
      }
    }
  }
  return bytes;
}

void expect_pixels(const ImageSet& set) {
  ASSERT_EQ(set.pixels.size(), set.size() * 3072);
  for (std::size_t r = 0; r < set.size(); ++r) {
    for (std::size_t i = 0; i < 1024; ++i) {
      for (std::size_t c = 0; c < 3; ++c) {
        ASSERT_EQ(set.image(r)[i * 3 + c], c * 64 + (i + r) % 64);
      }
    }
  }
}

TEST(Cifar, ReadsBothFormats) {
  ImageSet ten;
  parse_cifar(records({{3}, {9}}), "f", kCifar10, ten);
  EXPECT_EQ(ten.labels, (std::vector<std::int32_t>{3, 9}));
  EXPECT_EQ(ten.classes, 10);
  EXPECT_EQ(ten.height * 100 + ten.width + ten.channels, 3235);
  expect_pixels(ten);

  ImageSet hundred;
  parse_cifar(records({{19, 99}, {0, 42}, {1, 0}}), "f", kCifar100, hundred);
  EXPECT_EQ(hundred.labels, (std::vector<std::int32_t>{99, 42, 0}));
  EXPECT_EQ(hundred.classes, 100);
  expect_pixels(hundred);
}

TEST(Cifar, RejectsMalformedFiles) {
  const auto error = [](const Bytes& bytes, CifarFormat format) {
    return input_error_of([&] {
      ImageSet set;
      parse_cifar(bytes, "f", format, set);
    });
  };
  EXPECT_EQ(error({}, kCifar10),
            "f: size: expected one or more whole records of 3073 bytes, found 0 bytes");
  EXPECT_EQ(error(Bytes(3072), kCifar10),
            "f: size: expected one or more whole records of 3073 bytes, found 3072 bytes");
  EXPECT_EQ(error(Bytes(3075), kCifar100),
            "f: size: expected one or more whole records of 3074 bytes, found 3075 bytes");
  EXPECT_EQ(error(records({{1}, {10}}), kCifar10),
            "f: label of record 1: expected 0 to 9, found 10");
  EXPECT_EQ(error(records({{20, 0}}), kCifar100),
            "f: coarse label of record 0: expected 0 to 19, found 20");
  EXPECT_EQ(error(records({{0, 100}}), kCifar100),
            "f: label of record 0: expected 0 to 99, found 100");
}

TEST(Cifar, LoadsFoldersByName) {
  const testing::TemporaryFolder folder;
  DataConfig config;
  config.path = folder.path();
  for (int batch = 1; batch <= 5; ++batch) {
    const auto label = static_cast<std::uint8_t>(batch);
    folder.write("cifar-10-batches-bin/data_batch_" + std::to_string(batch) + ".bin",
                 records({{label}, {0}}));
  }
  folder.write("cifar-10-batches-bin/test_batch.bin", records({{7}}));
  config.dataset = DatasetKind::cifar10;
  const Dataset ten = load_dataset(config, 1, 10);
  EXPECT_EQ(ten.train.labels, (std::vector<std::int32_t>{1, 0, 2, 0, 3, 0, 4, 0, 5, 0}));
  EXPECT_EQ(ten.test.labels, (std::vector<std::int32_t>{7}));
  ASSERT_EQ(ten.mean.size(), 3u);
  // Every plane holds c·64 + 0..63 evenly: mean c·64 + 31.5, variance (64² − 1)/12.
  for (std::size_t c = 0; c < 3; ++c) {
    EXPECT_FLOAT_EQ(ten.mean[c], (64.0f * static_cast<float>(c) + 31.5f) / 255.0f);
    EXPECT_FLOAT_EQ(ten.stddev[c], std::sqrt(4095.0f / 12.0f) / 255.0f);
  }

  const std::string third = folder.write("cifar-10-batches-bin/data_batch_3.bin", records({{1}}));
  EXPECT_EQ(input_error_of([&] { load_dataset(config, 1, 2); }),
            third + ": number of records: expected 2 (as in data_batch_1.bin), found 1");
  std::filesystem::remove(third);
  EXPECT_EQ(input_error_of([&] { load_dataset(config, 1, 2); }),
            third +
                ": expected it in the folder; it has only data_batch_1.bin, data_batch_2.bin, "
                "data_batch_4.bin, data_batch_5.bin and test_batch.bin");

  folder.write("train.bin", records({{0, 50}, {1, 60}}));
  folder.write("test.bin", records({{2, 70}}));
  config.dataset = DatasetKind::cifar100;
  const Dataset hundred = load_dataset(config, 1, 2);
  EXPECT_EQ(hundred.train.labels, (std::vector<std::int32_t>{50, 60}));
  EXPECT_EQ(hundred.test.labels, (std::vector<std::int32_t>{70}));
}

}  // namespace
}  // namespace syncnorm
