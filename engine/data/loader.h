// The loader: threads that prepare one rank's part of every global batch ahead of the step.
//
// The content of a batch follows from the seed, the batching and the step (sampler.h, augment.h);
// the loader only adds threads and a ring of buffers. One thread makes images in memory.
// data.images.threads threads make images on disk, one image at a time, across all batches ahead.
// Once the order of the first epoch exists, nothing is allocated, not in next() either.
#pragma once

#include <cstddef>
#include <cstdint>
#include <exception>
#include <memory>
#include <span>
#include <thread>
#include <utility>
#include <vector>

#include "base/aligned.h"
#include "base/mutex.h"
#include "comm/replicas.h"
#include "engine/data/augment.h"
#include "engine/data/dataset.h"
#include "engine/data/sampler.h"
#include "engine/data/stored_images.h"

namespace syncnorm {

/// One rank's part of one global batch. Slot s of local replica r is element r·batch_per_replica +
/// s. A replica's samples come first; its unused slots are zeros in every array but masks.
struct Batch {
  std::int64_t step = 0;  // of the run, from 0
  std::int64_t epoch = 0;
  bool last_of_epoch = false;
  std::int64_t global_samples = 0;   // of the whole global batch, on all ranks
  std::vector<int> replica_samples;  // [local replicas]: full, partial or 0
  float* images = nullptr;  // [local replicas, batch_per_replica, H, W, C]; 64-byte aligned; owned
                            // by the loader
  // With LoaderOptions::raw, instead of images: the stored images, and how to augment them.
  std::uint8_t* pixels = nullptr;  // like images
  ImageMap* maps = nullptr;        // [local replicas, batch_per_replica]
  // With labels per pixel, with raw too: the class of each pixel of the augmented image, or
  // kIgnoredPixel, as in unused slots. [local replicas, batch_per_replica, H, W]; 64-byte aligned;
  // owned by the loader.
  std::uint8_t* masks = nullptr;
  std::span<std::int32_t> labels;  // [local replicas, batch_per_replica]; owned by the loader
  // Indices into the training split, laid out like labels. If an image was skipped, its index
  // stays, though image and label are those of its replacement.
  std::span<std::uint32_t> sample_ids;
  std::vector<CorruptImage> corrupt;  // of this batch, by slot
  bool usable = true;                 // false: an image must stop the run
};

struct LoaderOptions {
  std::uint64_t seed = 1;
  Batching batching;  // batching.samples is the length of the sample list
  Interval replicas;  // this rank's block
  bool shuffle = true;
  AugmentConfig augment;
  std::int64_t first_step = 0;   // first batch, e.g. after a resume; any step of any epoch
  std::int64_t total_steps = 0;  // steps of the whole run: the last batch is total_steps - 1
  int prefetch = 2;              // batches prepared ahead of those in use; at least 1
  int held = 1;                  // batches in use at a time; at least 1
  bool raw = false;              // stored images and maps instead of made images
  // Loader::bytes() for the arrays of all batches, 64-byte aligned; null: allocated. Pinned where a
  // device copies from it.
  std::byte* memory = nullptr;
};

/// Loads batches in order. Used by one thread. The data set must outlive it.
class Loader {
 public:
  /// `samples` are the indices of dataset.train to train on, in file order.
  Loader(const Dataset& dataset, std::vector<std::uint32_t> samples, const LoaderOptions& options);
  /// Stops promptly; waits only for images that are being decoded.
  ~Loader();
  /// Returns the bytes of the arrays of all batches that are kept in memory: images, masks, labels,
  /// ids.
  static std::size_t bytes(const Dataset& dataset, const LoaderOptions& options);

  Loader(const Loader&) = delete;
  Loader& operator=(const Loader&) = delete;

  /// Returns the next batch, waiting for it if necessary, and recycles the batch returned `held`
  /// calls earlier. Rethrows an exception that ended a thread. May be called total_steps -
  /// first_step times.
  const Batch& next();

  /// Returns the batch that next() returned last.
  const Batch& current() { return buffer(taken_ - 1).batch; }

  /// Returns the total seconds that next() has waited.
  double wait_seconds() const { return wait_seconds_; }

 private:
  /// Work of one thread without synchronization: used slots [begin, end) of a batch.
  struct Work {
    std::int64_t batch = 0;
    std::size_t begin = 0, end = 0;
  };
  /// An entry of the ring.
  struct Buffer {
    Batch batch;
    Augmentation augment;
    std::vector<std::uint32_t> slots;  // that have a sample
  };
  /// Progress of filling a buffer.
  struct Progress {
    std::size_t left = 0;                                       // slots to fill
    std::vector<std::pair<std::size_t, CorruptImage>> corrupt;  // with slots
  };

  /// A thread's memory for one decoded sample.
  struct Scratch {
    std::vector<std::uint8_t> pixels, mask;
  };

  void start(int threads);
  void stop();
  void run();
  bool wait_for_work() SYNCNORM_REQUIRES(mutex_);
  void choose_next() SYNCNORM_REQUIRES(mutex_);
  void do_work(ImageReader* reader, Scratch& scratch) SYNCNORM_REQUIRES(mutex_);
  void finish(std::int64_t number) SYNCNORM_REQUIRES(mutex_);
  void fail(std::exception_ptr failure) SYNCNORM_REQUIRES(mutex_);
  bool can_choose() const SYNCNORM_REQUIRES(mutex_);
  void make_order(std::int64_t epoch);
  void choose(std::int64_t step, Buffer& buffer);
  void fill_slot(std::size_t slot, Buffer& own);
  bool fill_stored(std::size_t slot, Buffer& own, ImageReader& reader, Scratch& scratch,
                   std::vector<CorruptImage>& corrupt);
  void clear_slots(std::size_t begin, std::size_t end, Batch& batch);
  Buffer& buffer(std::int64_t number) {
    return ring_[static_cast<std::size_t>(number) % ring_.size()];
  }
  Progress& progress(std::int64_t number) SYNCNORM_REQUIRES(mutex_) {
    return progress_[static_cast<std::size_t>(number) % progress_.size()];
  }

  const Dataset& dataset_;
  const std::vector<std::uint32_t> samples_;
  const LoaderOptions options_;
  const NormalizationTable normalization_;

  // Used only by the thread that is choosing a batch.
  std::vector<std::uint32_t> order_;
  std::int64_t order_epoch_ = -1;

  // A buffer belongs to the threads until it is made, then to the consumer until it is released.
  std::vector<Buffer> ring_;
  AlignedBytes arrays_;

  Mutex mutex_;
  Condition made_changed_;
  Condition work_changed_;
  std::vector<Progress> progress_ SYNCNORM_GUARDED_BY(mutex_);  // per buffer of the ring
  bool choosing_ SYNCNORM_GUARDED_BY(mutex_) = false;    // a thread is choosing the next batch
  std::int64_t chosen_ SYNCNORM_GUARDED_BY(mutex_) = 0;  // batches chosen so far
  Work open_ SYNCNORM_GUARDED_BY(mutex_);                // unfilled slots of the batch chosen last
  std::int64_t made_ SYNCNORM_GUARDED_BY(mutex_) = 0;    // batches ready so far
  std::int64_t released_ SYNCNORM_GUARDED_BY(mutex_) = 0;  // batches released so far
  std::exception_ptr failure_ SYNCNORM_GUARDED_BY(mutex_);
  bool stop_ SYNCNORM_GUARDED_BY(mutex_) = false;

  // Used only by the consumer.
  std::int64_t taken_ = 0;
  double wait_seconds_ = 0.0;

  std::vector<std::jthread> threads_;  // last: they use all of the above
};

}  // namespace syncnorm
