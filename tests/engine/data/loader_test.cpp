// The loader: the same global batches whatever the placement, exact resumes, and an orderly thread.
#include "engine/data/loader.h"

#include <gtest/gtest.h>

#include <set>
#include <stdexcept>

#include "tests/engine/data/test_data.h"

namespace syncnorm {
namespace {

constexpr int kReplicas = 8;

Dataset small_dataset(int samples = 70) {
  Dataset dataset;
  dataset.train = testing::counted_images(samples, 6, 5, 3);
  dataset.name = "small";
  channel_statistics(dataset.train, dataset.mean, dataset.stddev);
  return dataset;
}

LoaderOptions small_options(std::size_t samples) {
  LoaderOptions options;
  options.seed = 3;
  options.batching = {kReplicas, 3, false, static_cast<std::int64_t>(samples)};
  options.replicas = {0, kReplicas};
  options.augment = {
      {AugmentKind::random_crop, AugmentKind::horizontal_flip, AugmentKind::cutout}, 2, 2};
  options.total_steps = 8;
  return options;
}

/// A batch with its own copy of the arrays.
struct Copy {
  Batch batch;
  std::vector<float> images;
  std::vector<std::int32_t> labels;
  std::vector<std::uint32_t> sample_ids;
  std::vector<std::uint8_t> masks;
  bool operator==(const Copy& other) const {
    return batch.step == other.batch.step && batch.epoch == other.batch.epoch &&
           batch.last_of_epoch == other.batch.last_of_epoch &&
           batch.global_samples == other.batch.global_samples &&
           batch.replica_samples == other.batch.replica_samples && labels == other.labels &&
           sample_ids == other.sample_ids && images == other.images && masks == other.masks;
  }
};

std::vector<Copy> take_all(const Dataset& dataset, const std::vector<std::uint32_t>& samples,
                           const LoaderOptions& options) {
  Loader loader(dataset, samples, options);
  std::vector<Copy> copies;
  for (std::int64_t step = options.first_step; step < options.total_steps; ++step) {
    const Batch& batch = loader.next();
    EXPECT_EQ(reinterpret_cast<std::uintptr_t>(batch.images) % 64, 0u);
    const std::size_t values = batch.labels.size() * dataset.train.image_size();
    copies.push_back({batch,
                      {batch.images, batch.images + values},
                      {batch.labels.begin(), batch.labels.end()},
                      {batch.sample_ids.begin(), batch.sample_ids.end()},
                      {}});
    if (batch.masks != nullptr)
      copies.back().masks = {batch.masks,
                             batch.masks + batch.labels.size() * dataset.train.mask_size()};
    copies.back().batch.images = nullptr;
    copies.back().batch.masks = nullptr;
    copies.back().batch.labels = {};
    copies.back().batch.sample_ids = {};
  }
  return copies;
}

template <typename T>
void append(std::vector<T>& to, const std::vector<T>& from) {
  to.insert(to.end(), from.begin(), from.end());
}

/// The batches that all ranks together make, side by side.
std::vector<Copy> take_on_ranks(const Dataset& dataset, const std::vector<std::uint32_t>& samples,
                                LoaderOptions options, int ranks) {
  std::vector<Copy> whole;
  for (int rank = 0; rank < ranks; ++rank) {
    options.replicas = Placement{kReplicas, ranks}.block(rank);
    const std::vector<Copy> part = take_all(dataset, samples, options);
    if (rank == 0) {
      whole = part;
      continue;
    }
    for (std::size_t i = 0; i < part.size(); ++i) {
      append(whole[i].batch.replica_samples, part[i].batch.replica_samples);
      append(whole[i].labels, part[i].labels);
      append(whole[i].sample_ids, part[i].sample_ids);
      append(whole[i].images, part[i].images);
      append(whole[i].masks, part[i].masks);
    }
  }
  return whole;
}

TEST(Loader, SameGlobalBatchesWhateverThePlacement) {
  const Dataset dataset = small_dataset();
  const Splits splits = split_samples(dataset.train.size(), 7, 3);
  const LoaderOptions options = small_options(splits.train.size());
  const std::vector<Copy> expected = take_on_ranks(dataset, splits.train, options, 1);
  for (const int ranks : {2, 3, 4, 7, 8}) {
    EXPECT_EQ(take_on_ranks(dataset, splits.train, options, ranks), expected) << ranks << " ranks";
  }
}

Dataset masked_dataset(int samples = 70) {
  Dataset dataset = small_dataset();
  dataset.train = testing::counted_masks(samples, 6, 5, 3);
  return dataset;
}

TEST(Loader, SameMasksWhateverThePlacementAndTheDevice) {
  const Dataset dataset = masked_dataset();
  const Splits splits = split_samples(dataset.train.size(), 7, 3);
  LoaderOptions options = small_options(splits.train.size());
  const std::vector<Copy> expected = take_on_ranks(dataset, splits.train, options, 1);
  for (const int ranks : {2, 3, 8})
    EXPECT_EQ(take_on_ranks(dataset, splits.train, options, ranks), expected) << ranks << " ranks";
  options.raw = true;
  Loader raw(dataset, splits.train, options);
  const std::size_t size = dataset.train.mask_size();
  std::vector<std::uint8_t> mask(size);
  for (const Copy& copy : expected) {
    const Batch& batch = raw.next();
    EXPECT_EQ(reinterpret_cast<std::uintptr_t>(batch.masks) % 64, 0u);
    ASSERT_EQ(std::vector<std::uint8_t>(batch.masks, batch.masks + copy.masks.size()), copy.masks);
    for (std::size_t slot = 0; slot < copy.labels.size(); ++slot) {
      const bool used = static_cast<int>(slot % 3) < copy.batch.replica_samples[slot / 3];
      std::fill(mask.begin(), mask.end(), kIgnoredPixel);
      if (used)
        make_mask(dataset.train, copy.sample_ids[slot],
                  {options.augment, options.seed, batch.epoch, nullptr}, mask.data());
      ASSERT_TRUE(std::equal(mask.begin(), mask.end(), batch.masks + slot * size));
    }
  }
}

TEST(Loader, DealsTheEpochsOrderAndTheRightPixels) {
  const Dataset dataset = small_dataset();
  const Splits splits = split_samples(dataset.train.size(), 7, 3);  // 63 left: 24 + 24 + 15
  const LoaderOptions options = small_options(splits.train.size());
  const NormalizationTable table(dataset.mean, dataset.stddev);
  const std::size_t image_size = dataset.train.image_size();
  std::vector<float> expected(image_size);
  for (const Copy& copy : take_all(dataset, splits.train, options)) {
    const Batch& batch = copy.batch;
    const auto order = epoch_order(splits.train, options.seed, batch.epoch, true);
    const std::int64_t step_in_epoch = batch.step % 3;
    EXPECT_EQ(batch.epoch, batch.step / 3);
    EXPECT_EQ(batch.last_of_epoch, step_in_epoch == 2);
    EXPECT_EQ(batch.global_samples, step_in_epoch == 2 ? 15 : 24);
    for (std::size_t slot = 0; slot < 24; ++slot) {
      const std::size_t replica = slot / 3;
      const std::int32_t used = step_in_epoch < 2 || replica < 5 ? 3 : 0;
      ASSERT_EQ(batch.replica_samples[replica], used);
      const float* image = copy.images.data() + slot * image_size;
      if (used == 0) {
        EXPECT_EQ(copy.labels[slot], 0);
        EXPECT_EQ(copy.sample_ids[slot], 0u);
        EXPECT_EQ(std::vector<float>(image, image + image_size), std::vector<float>(image_size));
        continue;
      }
      const std::uint32_t id = order[static_cast<std::size_t>(step_in_epoch) * 24 + slot];
      EXPECT_EQ(copy.sample_ids[slot], id);
      EXPECT_EQ(copy.labels[slot], dataset.train.labels[id]);
      make_image(dataset.train, id, {options.augment, options.seed, batch.epoch, &table},
                 expected.data());
      ASSERT_EQ(std::vector<float>(image, image + image_size), expected);
    }
  }
}

TEST(Loader, PartialReplicaHasItsTailZeroed) {
  const Dataset dataset = small_dataset(10);
  LoaderOptions options = small_options(10);
  options.batching = {2, 4, false, 10};  // 8, then 2: one replica with 2 of 4, one with none
  options.replicas = {0, 2};
  options.shuffle = false;
  options.prefetch = 2;  // three buffers in turn: full batches were in them before
  for (const Copy& copy : take_all(dataset, split_samples(10, 0, 1).train, options)) {
    if (copy.batch.step % 2 == 0) continue;
    EXPECT_EQ(copy.batch.replica_samples, (std::vector<int>{2, 0}));
    EXPECT_EQ(copy.sample_ids, (std::vector<std::uint32_t>{8, 9, 0, 0, 0, 0, 0, 0}));
    EXPECT_EQ(copy.labels, (std::vector<std::int32_t>{8, 9, 0, 0, 0, 0, 0, 0}));
    const auto tail = copy.images.begin() + 2 * 90;
    EXPECT_EQ(std::count(tail, copy.images.end(), 0.0f), 6 * 90);
    EXPECT_LT(std::count(copy.images.begin(), tail, 0.0f), 2 * 90);
  }
}

TEST(Loader, ResumesAnywhereWithTheSameBatches) {
  const Dataset dataset = small_dataset();
  const std::vector<std::uint32_t> samples = split_samples(70, 0, 1).train;
  LoaderOptions options = small_options(samples.size());
  const std::vector<Copy> whole = take_all(dataset, samples, options);
  for (std::int64_t first = 0; first <= options.total_steps; ++first) {
    options.first_step = first;
    EXPECT_EQ(take_all(dataset, samples, options),
              std::vector<Copy>(whole.begin() + first, whole.end()))
        << "from step " << first;
  }
}

TEST(Loader, DropsTheLastBatchIfTold) {
  const Dataset dataset = small_dataset();
  const std::vector<std::uint32_t> samples = split_samples(70, 0, 1).train;
  LoaderOptions options = small_options(samples.size());
  options.batching.drop_last = true;
  for (const Copy& copy : take_all(dataset, samples, options)) {
    EXPECT_EQ(copy.batch.global_samples, 24);
    EXPECT_EQ(copy.batch.epoch, copy.batch.step / 2);
    EXPECT_EQ(copy.batch.replica_samples, std::vector<int>(8, 3));
  }
}

TEST(Loader, RecyclesItsBuffers) {
  const Dataset dataset = small_dataset();
  const std::vector<std::uint32_t> samples = split_samples(70, 0, 1).train;
  LoaderOptions options = small_options(samples.size());
  options.total_steps = 100;
  options.prefetch = 3;
  Loader loader(dataset, samples, options);
  std::set<const void*> buffers;
  for (int i = 0; i < 100; ++i) {
    const Batch& batch = loader.next();
    buffers.insert({&batch, batch.images, batch.labels.data(), batch.sample_ids.data(),
                    batch.replica_samples.data()});
  }
  EXPECT_LE(buffers.size(), 5u * 4u);
}

TEST(Loader, WaitIsMeasured) {
  const Dataset dataset = small_dataset();
  const std::vector<std::uint32_t> samples = split_samples(70, 0, 1).train;
  LoaderOptions options = small_options(samples.size());
  options.total_steps = 2000;
  Loader loader(dataset, samples, options);
  EXPECT_EQ(loader.wait_seconds(), 0.0);
  double before = 0.0;
  for (int i = 0; i < 2000; ++i) {  // faster than the thread can be: it has to be waited for
    loader.next();
    EXPECT_GE(loader.wait_seconds(), before);
    before = loader.wait_seconds();
  }
  EXPECT_GT(before, 0.0);
}

TEST(Loader, StopsPromptlyAtAnyMoment) {
  const Dataset dataset = small_dataset();
  const std::vector<std::uint32_t> samples = split_samples(70, 0, 1).train;
  LoaderOptions options = small_options(samples.size());
  options.total_steps = std::int64_t{1} << 40;  // never done by itself
  for (int taken = 0; taken < 6; ++taken) {
    Loader loader(dataset, samples, options);
    for (int i = 0; i < taken; ++i) loader.next();
  }
  options.first_step = options.total_steps;
  Loader nothing_to_do(dataset, samples, options);
}

TEST(Loader, WhatEndsTheThreadReachesTheCaller) {
  const Dataset dataset = small_dataset(40);
  LoaderOptions options = small_options(48);
  options.batching = {kReplicas, 3, true, 48};
  options.shuffle = false;
  std::vector<std::uint32_t> samples = split_samples(40, 0, 1).train;
  for (std::uint32_t i = 40; i < 48; ++i) samples.push_back(i);  // the data set ends at 39
  Loader loader(dataset, samples, options);
  EXPECT_EQ(loader.next().step, 0);  // the good one first
  for (int attempt = 0; attempt < 2; ++attempt) {
    try {
      loader.next();
      FAIL() << "no exception";
    } catch (const std::out_of_range& error) {
      EXPECT_STREQ(error.what(), "loader: sample 40 of small: the data set has 40");
    }
  }
}

}  // namespace
}  // namespace syncnorm
