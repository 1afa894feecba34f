// The loader's thread and its ring of buffers; see loader.h.
#include "engine/data/loader.h"

#include <fmt/format.h>

#include <algorithm>
#include <cassert>
#include <chrono>
#include <stdexcept>
#include <utility>

namespace syncnorm {
namespace {

std::size_t batches_kept(const LoaderOptions& options) {
  return static_cast<std::size_t>(std::max(1, options.prefetch) + std::max(1, options.held));
}

std::size_t slots_of(const LoaderOptions& options) {
  return static_cast<std::size_t>(options.replicas.size()) *
         static_cast<std::size_t>(options.plan.batch_per_replica);
}

/// Every batch begins on a 64-byte border.
std::size_t stride_of(const Dataset& dataset, const LoaderOptions& options) {
  constexpr std::size_t kStep = 64 / sizeof(float);
  return (slots_of(options) * dataset.train.image_size() + kStep - 1) / kStep * kStep;
}

}  // namespace

std::size_t Loader::floats(const Dataset& dataset, const LoaderOptions& options) {
  return batches_kept(options) * stride_of(dataset, options);
}

Loader::Loader(const Dataset& dataset, std::vector<std::uint32_t> samples,
               const LoaderOptions& options)
    : dataset_(dataset),
      samples_(std::move(samples)),
      options_(options),
      normalization_(dataset.mean, dataset.stddev),
      augment_{options.augment, options.seed, 0, &normalization_},
      ring_(batches_kept(options)) {
  assert(options.plan.samples == static_cast<std::int64_t>(samples_.size()));
  assert(options.plan.steps_per_epoch() >= 1);
  assert(!options.replicas.empty() && options.replicas.begin >= 0);
  assert(options.replicas.end <= options.plan.replicas);
  assert(options.first_step >= 0 && options.first_step <= options.total_steps);
  const auto replicas = static_cast<std::size_t>(options.replicas.size());
  const std::size_t slots = slots_of(options);
  const std::size_t stride = stride_of(dataset, options);
  float* images = options.memory;
  if (images == nullptr) {
    images_.reset(static_cast<float*>(::operator new[](floats(dataset, options) * sizeof(float),
                                                       std::align_val_t{kAlignment})));
    images = images_.get();
  }
  for (std::size_t i = 0; i < ring_.size(); ++i) {
    ring_[i].images = images + i * stride;
    ring_[i].replica_samples.resize(replicas);
    ring_[i].labels.resize(slots);
    ring_[i].sample_ids.resize(slots);
  }
  order_.reserve(samples_.size());
  thread_ = std::thread(&Loader::run, this);
}

Loader::~Loader() {
  {
    const std::lock_guard lock(mutex_);
    stop_ = true;
  }
  released_changed_.notify_all();
  thread_.join();
}

const Batch& Loader::next() {
  assert(options_.first_step + taken_ < options_.total_steps);
  std::unique_lock lock(mutex_);
  if (const std::int64_t over = taken_ + 1 - options_.held; over > released_) {
    released_ = over;
    released_changed_.notify_one();
  }
  const auto ready = [this] { return made_ > taken_ || failure_; };
  if (!ready()) {
    const auto start = std::chrono::steady_clock::now();
    made_changed_.wait(lock, ready);
    wait_seconds_ +=
        std::chrono::duration<double>(std::chrono::steady_clock::now() - start).count();
  }
  if (made_ == taken_) std::rethrow_exception(failure_);  // only once the good ones are used up
  return slot(taken_++);
}

void Loader::run() {
  try {
    for (std::int64_t step = options_.first_step; step < options_.total_steps; ++step) {
      const std::int64_t number = step - options_.first_step;
      {
        std::unique_lock lock(mutex_);
        released_changed_.wait(lock, [this, number] {
          return stop_ || number - released_ < static_cast<std::int64_t>(ring_.size());
        });
      }
      if (stop_) return;
      fill(step, slot(number));
      if (stop_) return;
      {
        const std::lock_guard lock(mutex_);
        made_ = number + 1;
      }
      made_changed_.notify_one();
    }
  } catch (...) {
    const std::lock_guard lock(mutex_);
    failure_ = std::current_exception();
    made_changed_.notify_one();
  }
}

void Loader::make_order(std::int64_t epoch) {
  if (order_epoch_ == epoch) return;
  epoch_order(samples_, options_.seed, epoch, options_.shuffle, order_);
  order_epoch_ = epoch;
  augment_.epoch = epoch;
}

void Loader::fill(std::int64_t step, Batch& batch) {
  const BatchPlan& plan = options_.plan;
  const std::int64_t step_in_epoch = step % plan.steps_per_epoch();
  batch.step = step;
  batch.epoch = step / plan.steps_per_epoch();
  batch.last_of_epoch = step_in_epoch + 1 == plan.steps_per_epoch();
  batch.global_samples = plan.batch_samples(step_in_epoch);
  make_order(batch.epoch);

  const ImageSet& images = dataset_.train;
  const std::size_t image_size = images.image_size();
  const auto per_replica = static_cast<std::size_t>(plan.batch_per_replica);
  for (std::size_t r = 0; r < batch.replica_samples.size() && !stop_; ++r) {
    const Interval positions =
        plan.positions(step_in_epoch, options_.replicas.begin + static_cast<int>(r));
    batch.replica_samples[r] = positions.size();
    std::size_t slot_number = r * per_replica;
    const std::size_t end = slot_number + per_replica;
    for (int position = positions.begin; position < positions.end; ++position, ++slot_number) {
      const std::uint32_t index = order_[static_cast<std::size_t>(position)];
      if (index >= images.size()) {
        throw std::out_of_range(fmt::format("loader: sample {} of {}: the data set has {}", index,
                                            dataset_.name, images.size()));
      }
      make_image(images, index, augment_, batch.images + slot_number * image_size);
      batch.labels[slot_number] = images.labels[index];
      batch.sample_ids[slot_number] = index;
    }
    std::fill(batch.images + slot_number * image_size, batch.images + end * image_size, 0.0f);
    const auto used = static_cast<std::ptrdiff_t>(slot_number);
    const auto full = static_cast<std::ptrdiff_t>(end);
    std::fill(batch.labels.begin() + used, batch.labels.begin() + full, 0);
    std::fill(batch.sample_ids.begin() + used, batch.sample_ids.begin() + full, 0u);
  }
}

}  // namespace syncnorm
