// The loader's thread and its ring of buffers; see loader.h.
#include "engine/data/loader.h"

#include <fmt/format.h>

#include <algorithm>
#include <cassert>
#include <chrono>
#include <cstring>
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

constexpr std::size_t kBorder = 64;
std::size_t to_border(std::size_t bytes) { return (bytes + kBorder - 1) / kBorder * kBorder; }

/// Of the images, or of the stored ones, of a batch; what follows begins on a 64-byte border.
std::size_t image_bytes(const Dataset& dataset, const LoaderOptions& options) {
  const std::size_t value = options.raw ? 1 : sizeof(float);
  return to_border(slots_of(options) * dataset.train.image_size() * value);
}

std::size_t batch_bytes(const Dataset& dataset, const LoaderOptions& options) {
  return image_bytes(dataset, options) +
         (options.raw ? to_border(slots_of(options) * sizeof(ImageMap)) : 0);
}

}  // namespace

std::size_t Loader::bytes(const Dataset& dataset, const LoaderOptions& options) {
  return batches_kept(options) * batch_bytes(dataset, options);
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
  std::byte* memory = options.memory;
  if (memory == nullptr) {
    images_.reset(static_cast<std::byte*>(
        ::operator new[](bytes(dataset, options), std::align_val_t{kAlignment})));
    memory = images_.get();
  }
  for (std::size_t i = 0; i < ring_.size(); ++i) {
    std::byte* own = memory + i * batch_bytes(dataset, options);
    if (options.raw) {
      ring_[i].pixels = reinterpret_cast<std::uint8_t*>(own);
      ring_[i].maps = reinterpret_cast<ImageMap*>(own + image_bytes(dataset, options));
    } else {
      ring_[i].images = reinterpret_cast<float*>(own);
    }
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

void Loader::fill_slot(std::uint32_t index, std::size_t slot, Batch& batch) {
  const ImageSet& images = dataset_.train;
  const std::size_t size = images.image_size();
  if (!options_.raw) return make_image(images, index, augment_, batch.images + slot * size);
  std::memcpy(batch.pixels + slot * size, images.image(index), size);
  batch.maps[slot] = image_map(images, index, augment_);
}

void Loader::clear_slots(std::size_t begin, std::size_t end, Batch& batch) {
  const std::size_t size = dataset_.train.image_size();
  if (options_.raw)
    std::fill(batch.maps + begin, batch.maps + end, ImageMap{});
  else
    std::fill(batch.images + begin * size, batch.images + end * size, 0.0f);
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
      fill_slot(index, slot_number, batch);
      batch.labels[slot_number] = images.labels[index];
      batch.sample_ids[slot_number] = index;
    }
    clear_slots(slot_number, end, batch);
    const auto used = static_cast<std::ptrdiff_t>(slot_number);
    const auto full = static_cast<std::ptrdiff_t>(end);
    std::fill(batch.labels.begin() + used, batch.labels.begin() + full, 0);
    std::fill(batch.sample_ids.begin() + used, batch.sample_ids.begin() + full, 0u);
  }
}

}  // namespace syncnorm
