// The global sampler: permutations, held-out samples, and the partition of an epoch.
#include "engine/data/sampler.h"

#include <gtest/gtest.h>

#include <numeric>

namespace syncnorm {
namespace {

std::vector<std::uint32_t> range(std::uint32_t begin, std::uint32_t end) {
  std::vector<std::uint32_t> values(end - begin);
  std::iota(values.begin(), values.end(), begin);
  return values;
}

std::vector<std::uint32_t> sorted(std::vector<std::uint32_t> values) {
  std::sort(values.begin(), values.end());
  return values;
}

TEST(EpochOrder, IsAPermutationOfTheSamples) {
  const std::vector<std::uint32_t> samples = {3, 5, 8, 13, 21, 34, 55, 89};
  for (std::int64_t epoch = 0; epoch < 20; ++epoch) {
    const auto order = epoch_order(samples, 1, epoch, true);
    EXPECT_EQ(sorted(order), samples);
  }
}

TEST(EpochOrder, DependsOnSeedAndEpoch) {
  const auto samples = range(0, 1000);
  const auto order = epoch_order(samples, 1, 0, true);
  EXPECT_NE(order, samples);
  EXPECT_EQ(order, epoch_order(samples, 1, 0, true));
  EXPECT_NE(order, epoch_order(samples, 1, 1, true));
  EXPECT_NE(order, epoch_order(samples, 2, 0, true));
}

TEST(EpochOrder, IsFileOrderWithoutShuffle) {
  const std::vector<std::uint32_t> samples = {2, 4, 7};
  EXPECT_EQ(epoch_order(samples, 1, 5, false), samples);
}

TEST(EpochOrder, NeverChanges) {  // a checkpoint made before an update must resume after it
  EXPECT_EQ(epoch_order(range(0, 10), 1, 0, true),
            (std::vector<std::uint32_t>{0, 2, 8, 6, 4, 3, 5, 7, 1, 9}));
}

TEST(EpochOrder, EveryPlaceIsEquallyLikely) {
  const auto samples = range(0, 5);
  std::vector<std::vector<int>> counts(5, std::vector<int>(5, 0));
  constexpr int kEpochs = 5000;
  for (int epoch = 0; epoch < kEpochs; ++epoch) {
    const auto order = epoch_order(samples, 9, epoch, true);
    for (std::size_t i = 0; i < 5; ++i) ++counts[i][order[i]];
  }
  for (const auto& row : counts) {
    for (const int count : row) EXPECT_NEAR(count, kEpochs / 5, 142);  // 5 standard deviations
  }
}

TEST(Splits, AreDisjointWholeAndInFileOrder) {
  for (const int validation : {0, 1, 37, 100}) {
    const Splits splits = split_samples(100, validation, 4);
    EXPECT_EQ(splits.validation.size(), static_cast<std::size_t>(validation));
    EXPECT_EQ(splits.train, sorted(splits.train));
    EXPECT_EQ(splits.validation, sorted(splits.validation));
    std::vector<std::uint32_t> all = splits.train;
    all.insert(all.end(), splits.validation.begin(), splits.validation.end());
    EXPECT_EQ(sorted(all), range(0, 100));
  }
}

TEST(Splits, DependOnTheSeed) {
  EXPECT_EQ(split_samples(1000, 100, 1).validation, split_samples(1000, 100, 1).validation);
  EXPECT_NE(split_samples(1000, 100, 1).validation, split_samples(1000, 100, 2).validation);
}

/// Every position of the epoch is dealt once, in order; nothing beyond the batch's size is.
void expect_partition(const Batching& batching) {
  std::int64_t position = 0;
  for (std::int64_t step = 0; step < batching.steps_per_epoch(); ++step) {
    std::int64_t in_batch = 0;
    int previous = batching.batch_per_replica;
    for (int replica = 0; replica < batching.replicas; ++replica) {
      const Interval slice = batching.positions(step, replica);
      ASSERT_GE(slice.size(), 0);
      ASSERT_LE(slice.size(), previous);  // full ones, one partial, then empty ones
      if (slice.size() < batching.batch_per_replica && previous < batching.batch_per_replica) {
        ASSERT_TRUE(slice.empty());
      }
      previous = slice.size();
      if (!slice.empty()) {
        ASSERT_EQ(slice.begin, position);
        ASSERT_EQ(slice.begin,
                  step * batching.global_batch() + replica * batching.batch_per_replica);
      }
      position += slice.size();
      in_batch += slice.size();
    }
    ASSERT_EQ(in_batch, batching.batch_samples(step));
    ASSERT_GE(in_batch, 1);
    if (batching.drop_last || step + 1 < batching.steps_per_epoch()) {
      ASSERT_EQ(in_batch, batching.global_batch());
    }
  }
  const std::int64_t left = batching.samples - position;
  if (batching.drop_last) {
    EXPECT_GE(left, 0);
    EXPECT_LT(left, batching.global_batch());
  } else {
    EXPECT_EQ(left, 0);
  }
}

TEST(Batching, PartitionsTheEpoch) {
  for (int replicas = 1; replicas <= 9; ++replicas) {
    for (int batch = 1; batch <= 5; ++batch) {
      for (std::int64_t samples = 1; samples <= 100; samples += 3) {
        for (const bool drop_last : {true, false}) {
          SCOPED_TRACE(::testing::Message() << replicas << " replicas of " << batch << ", "
                                            << samples << " samples, drop_last " << drop_last);
          expect_partition({replicas, batch, drop_last, samples});
        }
      }
    }
  }
}

TEST(Batching, LastBatchFillsReplicasInOrder) {
  const Batching batching = {4, 3, false, 12 + 7};
  EXPECT_EQ(batching.steps_per_epoch(), 2);
  EXPECT_EQ(batching.batch_samples(1), 7);
  EXPECT_EQ(batching.positions(1, 0), (Interval{12, 15}));
  EXPECT_EQ(batching.positions(1, 1), (Interval{15, 18}));
  EXPECT_EQ(batching.positions(1, 2), (Interval{18, 19}));
  EXPECT_TRUE(batching.positions(1, 3).empty());
}

}  // namespace
}  // namespace syncnorm
