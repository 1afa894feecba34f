// Fills evaluation chunks; see eval_chunks.h.
#include "engine/data/eval_chunks.h"

#include <algorithm>
#include <cstddef>
#include <exception>
#include <mutex>
#include <thread>

namespace syncnorm {
namespace {

/// A chunk of images on disk, and the threads that share it.
class StoredChunk {
 public:
  StoredChunk(const ImageSet& set, const NormalizationTable& normalization,
              std::span<const std::uint32_t> indices, std::span<const std::uint32_t> all,
              float* images, std::int32_t* labels)
      : set_(set),
        normalization_(normalization),
        indices_(indices),
        all_(all),
        images_(images),
        labels_(labels),
        found_(indices.size()) {}

  FilledChunk fill() {
    const auto threads =
        std::min(static_cast<std::size_t>(set_.stored->config.threads), indices_.size());
    {
      std::vector<std::jthread> others;
      for (std::size_t i = 1; i < threads; ++i) others.emplace_back([this] { run(); });
      run();
    }
    if (failure_) std::rethrow_exception(failure_);
    FilledChunk filled;
    for (const FilledChunk& one : found_) {
      filled.corrupt.insert(filled.corrupt.end(), one.corrupt.begin(), one.corrupt.end());
      filled.usable = filled.usable && one.usable;
    }
    return filled;
  }

 private:
  /// The next image to read; behind the last when there is none.
  std::size_t take() {
    const std::lock_guard lock(mutex_);
    return failure_ ? indices_.size() : next_++;
  }

  void run() {
    try {
      ImageReader reader(*set_.stored);
      std::vector<std::uint8_t> pixels(set_.image_size());
      for (std::size_t i = take(); i < indices_.size(); i = take()) {
        const ImageReader::Result result =
            reader.read(indices_[i], all_, nullptr, pixels.data(), found_[i].corrupt);
        found_[i].usable = result.usable;
        make_plain_image(set_, pixels.data(), normalization_, images_ + i * set_.image_size());
        labels_[i] = set_.labels[result.sample];
      }
    } catch (...) {
      const std::lock_guard lock(mutex_);
      failure_ = std::current_exception();
    }
  }

  const ImageSet& set_;
  const NormalizationTable& normalization_;
  const std::span<const std::uint32_t> indices_, all_;
  float* const images_;
  std::int32_t* const labels_;
  std::vector<FilledChunk> found_;  // of each image; written by who took it
  std::mutex mutex_;
  std::size_t next_ = 0;        // guarded by mutex_
  std::exception_ptr failure_;  // guarded by mutex_
};

}  // namespace

FilledChunk fill_eval_chunk(const ImageSet& set, const NormalizationTable& normalization,
                            std::span<const std::uint32_t> indices,
                            std::span<const std::uint32_t> all, int slots, float* images,
                            std::int32_t* labels) {
  const auto slot_count = static_cast<std::size_t>(slots);
  assert(indices.size() <= slot_count);
  const std::size_t image_size = set.image_size();
  FilledChunk filled;
  if (set.stored != nullptr) {
    filled = StoredChunk(set, normalization, indices, all, images, labels).fill();
  } else {
    for (std::size_t i = 0; i < indices.size(); ++i) {
      make_plain_image(set, set.image(indices[i]), normalization, images + i * image_size);
      labels[i] = set.labels[indices[i]];
    }
  }
  std::fill(images + indices.size() * image_size, images + slot_count * image_size, 0.0f);
  std::fill(labels + indices.size(), labels + slot_count, 0);
  return filled;
}

}  // namespace syncnorm
