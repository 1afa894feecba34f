// Evaluation data: fixed chunks of samples, without augmentation, made ahead where they are on
// disk.
//
// A chunk is the unit that evaluation sums over; which samples it holds depends on its number and
// nothing else, so evaluation does not depend on how chunks are spread over ranks.
#pragma once

#include <cassert>
#include <cstddef>
#include <cstdint>
#include <exception>
#include <span>
#include <thread>
#include <vector>

#include "base/mutex.h"
#include "comm/replicas.h"
#include "engine/data/augment.h"
#include "engine/data/dataset.h"

namespace syncnorm {

/// Positions 0..samples-1 of a split cut into chunks of `chunk_size`; the last may be smaller.
struct EvalChunks {
  int samples = 0;
  int chunk_size = 1;

  int count() const { return samples / chunk_size + (samples % chunk_size > 0 ? 1 : 0); }
  Interval positions(int chunk) const {
    assert(chunk >= 0 && chunk < count());
    const int begin = chunk * chunk_size;
    return {begin, samples - begin < chunk_size ? samples : begin + chunk_size};
  }
};

/// What was met that cannot be used.
struct CorruptFindings {
  std::vector<CorruptImage> corrupt;  // in the order of the samples
  bool usable = true;                 // false: one of them must stop the run

  void add(const CorruptFindings& other) {
    corrupt.insert(corrupt.end(), other.corrupt.begin(), other.corrupt.end());
    usable = usable && other.usable;
  }
};

/// A chunk as a model sees it.
struct EvalBatch {
  float* images = nullptr;           // [slots, H, W, C], zeros behind the samples; the feed's
  std::vector<std::int32_t> labels;  // [slots], zeros behind the samples
  CorruptFindings found;
};

/// Makes chunks in order, each while the one before it is in use: images on disk are decoded by
/// data.images.threads, which live as long as the feed. Images in memory take no thread.
class EvalFeed {
 public:
  using Samples = std::span<const std::uint32_t>;

  /// `chunks`: the samples of each, 1..slots of them. What must be skipped is replaced from `all`
  /// (ImageReader::read). `memory` holds buffers(set) · slots images. All outlive the feed.
  EvalFeed(const ImageSet& set, const NormalizationTable& normalization,
           std::vector<Samples> chunks, Samples all, int slots, float* memory);
  /// Returns when the images that are being decoded are finished.
  ~EvalFeed();
  EvalFeed(const EvalFeed&) = delete;
  EvalFeed& operator=(const EvalFeed&) = delete;

  /// Chunks that are in memory at a time: the one in use, and of images on disk the next.
  static std::size_t buffers(const ImageSet& set) { return set.stored == nullptr ? 1 : 2; }

  /// The next chunk, which takes the place of the one before it. Rethrows what ended a thread.
  /// Requires that fewer than all were taken.
  EvalBatch& next();

 private:
  struct Buffer {
    EvalBatch batch;
    std::vector<CorruptFindings> found;  // of each image; written by who took it
  };

  void stop();
  void run();
  bool wait_for_work() SYNCNORM_REQUIRES(mutex_);
  void wait_for(std::size_t chunk);
  void fill_stored(std::size_t chunk, std::size_t image, ImageReader& reader,
                   std::vector<std::uint8_t>& pixels);
  void fill_from_memory(std::size_t chunk);
  void finish(std::size_t chunk);
  bool made(std::size_t chunk) SYNCNORM_REQUIRES(mutex_) {
    return open_ > chunk && left(chunk) == 0;
  }
  Buffer& buffer(std::size_t chunk) { return buffers_[chunk % buffers_.size()]; }
  std::size_t& left(std::size_t chunk) SYNCNORM_REQUIRES(mutex_) {
    return left_[chunk % left_.size()];
  }

  const ImageSet& set_;
  const NormalizationTable& normalization_;
  const std::vector<Samples> chunks_;
  const Samples all_;
  std::vector<Buffer> buffers_;
  std::size_t taken_ = 0;  // chunks; the consumer's own

  Mutex mutex_;
  Condition work_changed_;
  Condition made_changed_;
  std::vector<std::size_t> left_ SYNCNORM_GUARDED_BY(mutex_);  // images to fill, of the places
  // The image to take next.
  std::size_t open_ SYNCNORM_GUARDED_BY(mutex_) = 0, next_image_ SYNCNORM_GUARDED_BY(mutex_) = 0;
  std::size_t released_ SYNCNORM_GUARDED_BY(mutex_) = 0;  // chunks whose place is free again
  std::exception_ptr failure_ SYNCNORM_GUARDED_BY(mutex_);
  bool stop_ SYNCNORM_GUARDED_BY(mutex_) = false;

  std::vector<std::jthread> threads_;  // last: they use all of the above
};

}  // namespace syncnorm
