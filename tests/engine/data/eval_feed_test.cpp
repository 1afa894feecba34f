// Evaluation data on disk, decoded ahead: order, bounds, early ends, corrupt images, failures.
#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <algorithm>
#include <chrono>
#include <condition_variable>
#include <mutex>
#include <numeric>
#include <optional>

#include "engine/data/eval_chunks.h"
#include "tests/engine/data/test_images.h"

namespace syncnorm {
namespace {

using testing::Bytes;
using testing::png_of;

/// Images that are made here: sample i is a picture of 4 × 4 pixels of the value i.
class MadeFiles : public ImageFiles {
 public:
  std::string name(std::uint32_t sample) const override { return std::to_string(sample); }
  std::span<const std::uint8_t> read(std::uint32_t sample, ReadBuffer& buffer) const override {
    if (sample == throws) throw std::runtime_error("the disk is on fire");
    if (sample == corrupt) throw CorruptImageError("is made so");
    buffer.bytes = png_of(Bytes(48, static_cast<std::uint8_t>(sample)), 4, 4);
    const std::lock_guard lock(mutex);
    ++reads;
    most = std::max(most, sample);
    changed.notify_all();
    return buffer.bytes;
  }

  std::uint32_t throws = 1000, corrupt = 1000;
  mutable std::mutex mutex;
  mutable std::condition_variable changed;
  mutable std::uint32_t reads = 0, most = 0;
};

/// Ten samples in chunks of 3, 3, 3 and 1; a value v of an image becomes v/255.
class EvalFeedTest : public ::testing::Test {
 protected:
  static constexpr std::size_t kSize = 4 * 4 * 3;

  EvalFeed& feed(int threads) {
    ImagesConfig config;
    config.height = config.width = config.resize = 4;
    config.threads = threads;
    auto files = std::make_unique<MadeFiles>();
    files->throws = throws_;
    files->corrupt = corrupt_;
    files_ = files.get();
    std::vector<std::int32_t> labels(10);
    std::iota(labels.begin(), labels.end(), 0);
    set_ = stored_image_set(std::move(files), labels, 10, config);
    memory_.assign(EvalFeed::buffers(set_) * 3 * kSize, 99.0f);
    return feed_.emplace(set_, table_, chunks_, all_, 3, memory_.data());
  }

  std::uint32_t throws_ = 1000, corrupt_ = 1000;
  const std::vector<std::uint32_t> all_ = {0, 1, 2, 3, 4, 5, 6, 7, 8, 9};
  const std::vector<EvalFeed::Samples> chunks_ = {
      EvalFeed::Samples(all_).subspan(0, 3), EvalFeed::Samples(all_).subspan(3, 3),
      EvalFeed::Samples(all_).subspan(6, 3), EvalFeed::Samples(all_).subspan(9, 1)};
  const NormalizationTable table_{{0.0f, 0.0f, 0.0f}, {1.0f, 1.0f, 1.0f}};
  const MadeFiles* files_ = nullptr;
  ImageSet set_;
  std::vector<float> memory_;
  std::optional<EvalFeed> feed_;  // last: its threads use all of the above
};

TEST_F(EvalFeedTest, ChunksComeInOrderWhateverTheThreads) {
  for (const int threads : {1, 2, 5}) {
    EvalFeed& feed = this->feed(threads);
    for (const EvalFeed::Samples& samples : chunks_) {
      const EvalBatch& batch = feed.next();
      EXPECT_TRUE(batch.found.usable);
      for (std::size_t slot = 0; slot < 3; ++slot) {
        const bool used = slot < samples.size();
        EXPECT_EQ(batch.labels[slot], used ? static_cast<int>(samples[slot]) : 0);
        const float value = used ? static_cast<float>(samples[slot] / 255.0) : 0.0f;
        for (std::size_t i = 0; i < kSize; ++i) ASSERT_EQ(batch.images[slot * kSize + i], value);
      }
    }
    EXPECT_EQ(files_->reads, 10u);
    feed_.reset();
  }
}

TEST_F(EvalFeedTest, TheNextChunkIsMadeWhileOneIsInUseAndNoMore) {
  this->feed(2).next();
  {
    std::unique_lock lock(files_->mutex);
    EXPECT_TRUE(files_->changed.wait_for(lock, std::chrono::minutes(1),
                                         [this] { return files_->reads == 6; }));
    EXPECT_LE(files_->most, 5u);
  }
  for (int i = 0; i < 2; ++i) feed_->next();
  std::unique_lock lock(files_->mutex);
  EXPECT_TRUE(files_->changed.wait_for(lock, std::chrono::minutes(1),
                                       [this] { return files_->reads == 10; }));
}

TEST_F(EvalFeedTest, EndsEarlyOnRequest) {
  for (int taken = 0; taken < 3; ++taken) {
    EvalFeed& feed = this->feed(3);
    for (int i = 0; i < taken; ++i) feed.next();
    feed_.reset();
    EXPECT_LE(files_->most, taken < 2 ? 5u : 8u);  // the chunk in use and the next
  }
}

TEST_F(EvalFeedTest, RethrowsWhatEndedAThread) {
  throws_ = 7;
  EvalFeed& feed = this->feed(1);  // with more it may come before what others are still filling
  feed.next();
  feed.next();
  try {
    feed.next();
    ADD_FAILURE() << "no error";
  } catch (const std::runtime_error& error) {
    EXPECT_STREQ(error.what(), "the disk is on fire");
  }
}

TEST_F(EvalFeedTest, StopMakesItsOwnChunkUnusable) {
  corrupt_ = 4;
  EvalFeed& feed = this->feed(3);
  for (const bool usable : {true, false, true, true}) {
    const EvalBatch& batch = feed.next();
    EXPECT_EQ(batch.found.usable, usable);
    EXPECT_EQ(batch.found.corrupt.size(), usable ? 0u : 1u);
  }
}

}  // namespace
}  // namespace syncnorm
