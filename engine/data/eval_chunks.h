// Evaluation data: fixed chunks of samples without augmentation, prepared ahead if on disk.
//
// Evaluation sums over chunks. The samples of a chunk depend only on its number, so evaluation does
// not depend on the distribution of chunks over ranks.
#pragma once

#include <cassert>
#include <cstddef>
#include <cstdint>
#include <exception>
#include <span>
#include <thread>
#include <vector>

#include "base/aligned.h"
#include "base/mutex.h"
#include "comm/replicas.h"
#include "engine/data/augment.h"
#include "engine/data/dataset.h"

namespace syncnorm {

/// Positions 0..samples-1 of a split, divided into chunks of `chunk_size`. What remains is a last,
/// smaller chunk, or with `merge_last` a part of the last one, which is then larger.
struct EvalChunks {
  int samples = 0;
  int chunk_size = 1;
  bool merge_last = false;

  int count() const {
    const int whole = samples / chunk_size, rest = samples % chunk_size;
    return whole + (rest > 0 && !(merge_last && whole > 0) ? 1 : 0);
  }
  Interval positions(int chunk) const {
    assert(chunk >= 0 && chunk < count());
    const int begin = chunk * chunk_size;
    return {begin, chunk + 1 == count() ? samples : begin + chunk_size};
  }
};

/// The corrupt images that were found.
struct CorruptFindings {
  std::vector<CorruptImage> corrupt;  // in the order of samples
  bool usable = true;                 // false: one of them must stop the run

  void add(const CorruptFindings& other) {
    corrupt.insert(corrupt.end(), other.corrupt.begin(), other.corrupt.end());
    usable = usable && other.usable;
  }
};

/// A chunk in the form that the model reads.
struct EvalBatch {
  // Images have the evaluation's size (ImageSet::evaluation_height, evaluation_width).
  float* images = nullptr;  // [slots, H, W, C], zeros after the samples; in the feed's `memory`
  // With labels per pixel, [slots, H, W], 64-byte aligned: classes, kIgnoredPixel after the
  // samples; else null.
  std::uint8_t* masks = nullptr;
  std::vector<std::int32_t> labels;  // [slots], zeros after the samples
  CorruptFindings found;
};

/// Prepares chunks in order, each while the previous one is in use. Images on disk are decoded by
/// data.images.threads threads, which live as long as the feed. Images in memory use no thread.
class EvalFeed {
 public:
  using Samples = std::span<const std::uint32_t>;

  /// The form in which images are read; it matters with labels per pixel on disk only.
  enum class View {
    whole,    // as an evaluation does
    training  // of the size of training, without augmentation: the center
  };

  /// `chunks` are the samples of each chunk, 1..slots of them. Skipped images are replaced from
  /// `all` (ImageReader::read). `memory` holds buffers(set) · slots images of evaluation_size()
  /// values, or image_size() for View::training. All must outlive the feed.
  EvalFeed(const ImageSet& set, const NormalizationTable& normalization,
           std::vector<Samples> chunks, Samples all, int slots, float* memory,
           View view = View::whole);
  /// Stops; waits only for images that are being decoded.
  ~EvalFeed();
  EvalFeed(const EvalFeed&) = delete;
  EvalFeed& operator=(const EvalFeed&) = delete;

  /// Returns the number of chunks kept in memory: the one in use and, for images on disk, the next.
  static std::size_t buffers(const ImageSet& set) { return set.stored == nullptr ? 1 : 2; }

  /// Returns the next chunk, and releases the previous one. Rethrows an exception that ended a
  /// thread. Must be called at most once per chunk.
  EvalBatch& next();

 private:
  struct Buffer {
    EvalBatch batch;
    AlignedBytes masks;
    std::vector<CorruptFindings> found;  // per image; written by the thread that fills it
  };

  void stop();
  void run();
  bool wait_for_work() SYNCNORM_REQUIRES(mutex_);
  void wait_for(std::size_t chunk);
  void fill_stored(std::size_t chunk, std::size_t image, ImageReader& reader,
                   std::vector<std::uint8_t>& pixels);
  std::uint8_t* mask_of(EvalBatch& batch, std::size_t slot) const {
    return set_.per_pixel ? batch.masks + slot * pixels_ : nullptr;
  }
  std::size_t values() const { return pixels_ * static_cast<std::size_t>(set_.channels); }
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
  const View view_;
  const std::size_t pixels_;  // of an image
  std::vector<Buffer> buffers_;
  std::size_t taken_ = 0;  // chunks; used only by the consumer

  Mutex mutex_;
  Condition work_changed_;
  Condition made_changed_;
  std::vector<std::size_t> left_ SYNCNORM_GUARDED_BY(mutex_);  // images to fill, per buffer
  // The next image to fill: its chunk, and its index there.
  std::size_t open_ SYNCNORM_GUARDED_BY(mutex_) = 0, next_image_ SYNCNORM_GUARDED_BY(mutex_) = 0;
  std::size_t released_ SYNCNORM_GUARDED_BY(mutex_) = 0;  // chunks whose buffer is free again
  std::exception_ptr failure_ SYNCNORM_GUARDED_BY(mutex_);
  bool stop_ SYNCNORM_GUARDED_BY(mutex_) = false;

  std::vector<std::jthread> threads_;  // last: they use all of the above
};

}  // namespace syncnorm
