// The threads and buffers of evaluation data; see eval_chunks.h.
#include "engine/data/eval_chunks.h"

#include <algorithm>
#include <memory>
#include <utility>

namespace syncnorm {

EvalFeed::EvalFeed(const ImageSet& set, const NormalizationTable& normalization,
                   std::vector<Samples> chunks, Samples all, int slots, float* memory, View view)
    : set_(set),
      normalization_(normalization),
      chunks_(std::move(chunks)),
      all_(all),
      view_(view),
      pixels_(view == View::whole ? set.evaluation_pixels() : set.mask_size()),
      buffers_(buffers(set)),
      left_(buffers_.size()) {
  const auto slot_count = static_cast<std::size_t>(slots);
  assert(std::all_of(chunks_.begin(), chunks_.end(), [slot_count](const Samples& samples) {
    return !samples.empty() && samples.size() <= slot_count;
  }));
  for (Buffer& buffer : buffers_) {
    buffer.batch.images = memory;
    buffer.batch.labels.resize(slot_count);
    memory += slot_count * values();
    if (!set.per_pixel) continue;
    buffer.masks = allocate_aligned(slot_count * pixels_);
    buffer.batch.masks = reinterpret_cast<std::uint8_t*>(buffer.masks.get());
  }
  const int threads = set.stored == nullptr ? 0 : set.stored->config.threads;
  try {
    for (int i = 0; i < threads; ++i) threads_.emplace_back([this] { run(); });
  } catch (...) {  // running threads are joined by their destructors
    stop();
    throw;
  }
}

EvalFeed::~EvalFeed() { stop(); }

void EvalFeed::stop() {
  {
    const MutexLock lock(mutex_);
    stop_ = true;
  }
  work_changed_.notify_all();
}

EvalBatch& EvalFeed::next() {
  assert(taken_ < chunks_.size());
  const std::size_t chunk = taken_++;
  if (set_.stored == nullptr)
    fill_from_memory(chunk);
  else
    wait_for(chunk);
  finish(chunk);
  return buffer(chunk).batch;
}

/// Releases the buffers of earlier chunks, and waits until `chunk` is ready.
void EvalFeed::wait_for(std::size_t chunk) {
  const MutexLock lock(mutex_);
  released_ = chunk;
  work_changed_.notify_all();
  while (!made(chunk) && !failure_) made_changed_.wait(mutex_);
  if (!made(chunk)) std::rethrow_exception(failure_);
}

/// Waits for an image to fill and returns true; returns false if the thread must end.
bool EvalFeed::wait_for_work() {
  while (!stop_ && !failure_ && !(open_ < chunks_.size() && open_ < released_ + buffers_.size()))
    work_changed_.wait(mutex_);
  return !stop_ && !failure_;
}

/// Runs in every thread: fills images one after another, in chunks that have a buffer.
void EvalFeed::run() {
  std::unique_ptr<ImageReader> reader;
  std::vector<std::uint8_t> pixels;
  std::exception_ptr failure;
  try {
    reader = std::make_unique<ImageReader>(*set_.stored);
    pixels.resize(values());
  } catch (...) {
    failure = std::current_exception();
  }
  const MutexLock lock(mutex_);
  while (!failure && wait_for_work()) {
    const std::size_t chunk = open_, image = next_image_++;
    if (image == 0) {
      left(chunk) = chunks_[chunk].size();
      buffer(chunk).found.assign(chunks_[chunk].size(), {});
    }
    if (next_image_ == chunks_[chunk].size()) {
      ++open_;
      next_image_ = 0;
    }
    mutex_.unlock();
    try {
      fill_stored(chunk, image, *reader, pixels);
    } catch (...) {
      failure = std::current_exception();
    }
    mutex_.lock();
    if (!failure && --left(chunk) == 0) made_changed_.notify_one();
  }
  if (!failure) return;
  failure_ = failure;
  made_changed_.notify_one();
  work_changed_.notify_all();
}

void EvalFeed::fill_stored(std::size_t chunk, std::size_t image, ImageReader& reader,
                           std::vector<std::uint8_t>& pixels) {
  Buffer& own = buffer(chunk);
  CorruptFindings& found = own.found[image];
  const Augmentation none;
  const ImageReader::Result result = reader.read(
      chunks_[chunk][image], all_, view_ == View::training && set_.per_pixel ? &none : nullptr,
      pixels.data(), mask_of(own.batch, image), found.corrupt);
  found.usable = result.usable;
  normalize_pixels(pixels.data(), pixels_, normalization_, own.batch.images + image * values());
  own.batch.labels[image] = set_.labels[result.sample];
}

void EvalFeed::fill_from_memory(std::size_t chunk) {
  EvalBatch& batch = buffer(chunk).batch;
  const Samples samples = chunks_[chunk];
  for (std::size_t i = 0; i < samples.size(); ++i) {
    normalize_pixels(set_.image(samples[i]), pixels_, normalization_, batch.images + i * values());
    batch.labels[i] = set_.labels[samples[i]];
    if (set_.per_pixel) std::copy_n(set_.mask(samples[i]), pixels_, mask_of(batch, i));
  }
}

/// Completes a chunk whose images are all filled: padding and findings.
void EvalFeed::finish(std::size_t chunk) {
  Buffer& own = buffer(chunk);
  EvalBatch& batch = own.batch;
  const std::size_t size = values(), used = chunks_[chunk].size();
  if (set_.per_pixel)
    std::fill(mask_of(batch, used), mask_of(batch, batch.labels.size()), kIgnoredPixel);
  std::fill(batch.images + used * size, batch.images + batch.labels.size() * size, 0.0f);
  std::fill(batch.labels.begin() + static_cast<std::ptrdiff_t>(used), batch.labels.end(), 0);
  batch.found = {};
  for (const CorruptFindings& found : own.found) batch.found.add(found);
}

}  // namespace syncnorm
