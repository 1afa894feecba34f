// The threads and places of evaluation data; see eval_chunks.h.
#include "engine/data/eval_chunks.h"

#include <algorithm>
#include <stop_token>
#include <utility>

namespace syncnorm {

EvalFeed::EvalFeed(const ImageSet& set, const NormalizationTable& normalization,
                   std::vector<Samples> chunks, Samples all, int slots, float* memory)
    : set_(set),
      normalization_(normalization),
      chunks_(std::move(chunks)),
      all_(all),
      places_(places(set)) {
  const auto slot_count = static_cast<std::size_t>(slots);
  assert(std::all_of(chunks_.begin(), chunks_.end(), [slot_count](const Samples& samples) {
    return !samples.empty() && samples.size() <= slot_count;
  }));
  for (Place& place : places_) {
    place.batch.images = memory;
    place.batch.labels.resize(slot_count);
    memory += slot_count * set.image_size();
  }
  const int threads = set.stored == nullptr ? 0 : set.stored->config.threads;
  for (int i = 0; i < threads; ++i)
    threads_.emplace_back([this](const std::stop_token& stop) { run(stop); });
}

EvalBatch& EvalFeed::next() {
  assert(taken_ < chunks_.size());
  const std::size_t chunk = taken_++;
  if (set_.stored == nullptr)
    fill_from_memory(chunk);
  else
    wait_for(chunk);
  finish(chunk);
  return place(chunk).batch;
}

/// Gives the place of the chunk before it back, and returns when `chunk` is made.
void EvalFeed::wait_for(std::size_t chunk) {
  std::unique_lock lock(mutex_);
  released_ = chunk;
  work_changed_.notify_all();
  made_changed_.wait(lock, [this, chunk] { return made(chunk) || failure_; });
  if (!made(chunk)) std::rethrow_exception(failure_);
}

/// Of every thread: fills one image after another, over chunks that have a place.
void EvalFeed::run(const std::stop_token& stop) {
  std::unique_lock lock(mutex_);
  try {
    ImageReader reader(*set_.stored);
    std::vector<std::uint8_t> pixels(set_.image_size());
    const auto can_take = [this] {
      return !failure_ && open_ < chunks_.size() && open_ < released_ + places_.size();
    };
    while (work_changed_.wait(lock, stop, can_take)) {
      const std::size_t chunk = open_, image = next_image_++;
      if (image == 0) {
        place(chunk).left = chunks_[chunk].size();
        place(chunk).found.assign(chunks_[chunk].size(), {});
      }
      if (next_image_ == chunks_[chunk].size()) {
        ++open_;
        next_image_ = 0;
      }
      lock.unlock();
      fill_stored(chunk, image, reader, pixels);
      lock.lock();
      if (--place(chunk).left == 0) made_changed_.notify_one();
    }
  } catch (...) {
    if (!lock.owns_lock()) lock.lock();
    failure_ = std::current_exception();
    made_changed_.notify_one();
  }
}

void EvalFeed::fill_stored(std::size_t chunk, std::size_t image, ImageReader& reader,
                           std::vector<std::uint8_t>& pixels) {
  Place& own = place(chunk);
  CorruptFindings& found = own.found[image];
  const ImageReader::Result result =
      reader.read(chunks_[chunk][image], all_, nullptr, pixels.data(), found.corrupt);
  found.usable = result.usable;
  make_plain_image(set_, pixels.data(), normalization_,
                   own.batch.images + image * set_.image_size());
  own.batch.labels[image] = set_.labels[result.sample];
}

void EvalFeed::fill_from_memory(std::size_t chunk) {
  EvalBatch& batch = place(chunk).batch;
  const Samples samples = chunks_[chunk];
  for (std::size_t i = 0; i < samples.size(); ++i) {
    make_plain_image(set_, set_.image(samples[i]), normalization_,
                     batch.images + i * set_.image_size());
    batch.labels[i] = set_.labels[samples[i]];
  }
}

/// What is left to do once all images are there.
void EvalFeed::finish(std::size_t chunk) {
  Place& own = place(chunk);
  EvalBatch& batch = own.batch;
  const std::size_t size = set_.image_size(), used = chunks_[chunk].size();
  std::fill(batch.images + used * size, batch.images + batch.labels.size() * size, 0.0f);
  std::fill(batch.labels.begin() + static_cast<std::ptrdiff_t>(used), batch.labels.end(), 0);
  batch.found = {};
  for (const CorruptFindings& found : own.found) batch.found.add(found);
}

}  // namespace syncnorm
