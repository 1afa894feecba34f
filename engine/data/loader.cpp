// The threads and the ring of buffers of the loader; see loader.h.
#include "engine/data/loader.h"

#include <fmt/format.h>

#include <algorithm>
#include <cassert>
#include <cstring>
#include <stdexcept>
#include <utility>

#include "base/clock.h"

namespace syncnorm {
namespace {

std::size_t batches_kept(const LoaderOptions& options) {
  return static_cast<std::size_t>(std::max(1, options.prefetch) + std::max(1, options.held));
}

std::size_t slots_of(const LoaderOptions& options) {
  return static_cast<std::size_t>(options.replicas.size()) *
         static_cast<std::size_t>(options.batching.batch_per_replica);
}

/// Bytes of one batch's images, padded to 64.
std::size_t image_bytes(const Dataset& dataset, const LoaderOptions& options) {
  const std::size_t value = options.raw ? 1 : sizeof(float);
  return to_alignment(slots_of(options) * dataset.train.image_size() * value);
}

std::size_t mask_bytes(const Dataset& dataset, const LoaderOptions& options) {
  return dataset.train.per_pixel ? to_alignment(slots_of(options) * dataset.train.mask_size()) : 0;
}

/// Bytes of one value of type T per slot, padded to 64.
template <class T>
std::size_t slot_bytes(const LoaderOptions& options) {
  return to_alignment(slots_of(options) * sizeof(T));
}

std::size_t batch_bytes(const Dataset& dataset, const LoaderOptions& options) {
  return image_bytes(dataset, options) + mask_bytes(dataset, options) +
         (options.raw ? slot_bytes<ImageMap>(options) : 0) + slot_bytes<std::int32_t>(options) +
         slot_bytes<std::uint32_t>(options);
}

/// Takes the arrays of a batch out of `memory`, batch_bytes() of it.
void place_arrays(Batch& batch, std::byte* memory, const Dataset& dataset,
                  const LoaderOptions& options) {
  const std::size_t slots = slots_of(options);
  const auto take = [&]<class T>(T*& array, std::size_t bytes) {
    array = reinterpret_cast<T*>(memory);
    memory += bytes;
  };
  if (options.raw) {
    take(batch.pixels, image_bytes(dataset, options));
    take(batch.maps, slot_bytes<ImageMap>(options));
  } else {
    take(batch.images, image_bytes(dataset, options));
  }
  if (dataset.train.per_pixel) take(batch.masks, mask_bytes(dataset, options));
  std::int32_t* labels = nullptr;
  std::uint32_t* ids = nullptr;
  take(labels, slot_bytes<std::int32_t>(options));
  take(ids, slot_bytes<std::uint32_t>(options));
  batch.labels = {labels, slots};
  batch.sample_ids = {ids, slots};
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
      ring_(batches_kept(options)),
      progress_(ring_.size()) {
  assert(options.batching.samples == static_cast<std::int64_t>(samples_.size()));
  assert(options.batching.steps_per_epoch() >= 1);
  assert(!options.replicas.empty() && options.replicas.begin >= 0);
  assert(options.replicas.end <= options.batching.replicas);
  assert(options.first_step >= 0 && options.first_step <= options.total_steps);
  const auto replicas = static_cast<std::size_t>(options.replicas.size());
  const std::size_t slots = slots_of(options);
  std::byte* memory = options.memory;
  if (memory == nullptr) {
    arrays_ = allocate_aligned(bytes(dataset, options));
    memory = arrays_.get();
  }
  for (std::size_t i = 0; i < ring_.size(); ++i) {
    Batch& batch = ring_[i].batch;
    place_arrays(batch, memory + i * batch_bytes(dataset, options), dataset, options);
    batch.replica_samples.resize(replicas);
    ring_[i].slots.reserve(slots);
    ring_[i].augment = {options.augment, options.seed, 0, &normalization_};
  }
  order_.reserve(samples_.size());
  const StoredImages* stored = dataset.train.stored.get();
  start(stored == nullptr ? 1 : stored->config.threads);
}

Loader::~Loader() { stop(); }

void Loader::start(int threads) {
  try {
    for (int i = 0; i < threads; ++i) threads_.emplace_back([this] { run(); });
  } catch (...) {  // running threads are joined by their destructors
    stop();
    throw;
  }
}

void Loader::stop() {
  {
    const MutexLock lock(mutex_);
    stop_ = true;
  }
  work_changed_.notify_all();
}

const Batch& Loader::next() {
  assert(options_.first_step + taken_ < options_.total_steps);
  const MutexLock lock(mutex_);
  if (const std::int64_t over = taken_ + 1 - options_.held; over > released_) {
    released_ = over;
    work_changed_.notify_one();
  }
  if (made_ <= taken_ && !failure_) {
    const auto start = Clock::now();
    while (made_ <= taken_ && !failure_) made_changed_.wait(mutex_);
    wait_seconds_ += seconds_since(start);
  }
  if (made_ == taken_) std::rethrow_exception(failure_);  // only after all good batches were taken
  return buffer(taken_++).batch;
}

/// Returns true if a thread can choose the next batch: it exists, has a free buffer, and no other
/// thread is choosing.
bool Loader::can_choose() const {
  return !choosing_ && chosen_ < options_.total_steps - options_.first_step &&
         chosen_ - released_ < static_cast<std::int64_t>(ring_.size());
}

/// Waits for work and returns true; returns false if the thread must end.
bool Loader::wait_for_work() {
  while (!stop_ && open_.begin == open_.end && !can_choose()) work_changed_.wait(mutex_);
  return !stop_;
}

/// Ends all threads; the consumer receives the first failure.
void Loader::fail(std::exception_ptr failure) {
  if (!failure_) failure_ = std::move(failure);
  stop_ = true;
  made_changed_.notify_one();
  work_changed_.notify_all();
}

/// Runs in every thread: fills the open batch, or chooses the next one.
void Loader::run() {
  const StoredImages* stored = dataset_.train.stored.get();
  std::unique_ptr<ImageReader> reader;
  Scratch scratch;
  std::exception_ptr failure;
  try {
    if (stored != nullptr) {
      reader = std::make_unique<ImageReader>(*stored);
      scratch.pixels.resize(dataset_.train.image_size());
      if (dataset_.train.per_pixel) scratch.mask.resize(dataset_.train.mask_size());
    }
  } catch (...) {
    failure = std::current_exception();
  }
  const MutexLock lock(mutex_);
  if (failure) return fail(failure);
  while (wait_for_work()) {
    if (open_.begin < open_.end)
      do_work(reader.get(), scratch);
    else
      choose_next();
  }
}

void Loader::choose_next() {
  choosing_ = true;
  const std::int64_t number = chosen_;
  std::exception_ptr failure;
  mutex_.unlock();
  try {
    choose(options_.first_step + number, buffer(number));
  } catch (...) {
    failure = std::current_exception();
  }
  mutex_.lock();
  if (failure) return fail(failure);
  choosing_ = false;
  chosen_ = number + 1;
  open_ = {number, 0, buffer(number).slots.size()};
  progress(number) = {open_.end, {}};
  if (open_.end == 0) finish(number);
  work_changed_.notify_all();
}

/// Takes one image on disk, or all images in memory, of the open batch, and fills their slots.
void Loader::do_work(ImageReader* reader, Scratch& scratch) {
  Work work = open_;
  if (reader != nullptr) work.end = work.begin + 1;
  open_.begin = work.end;
  Buffer& own = buffer(work.batch);
  std::vector<CorruptImage> corrupt;
  bool usable = true;
  std::exception_ptr failure;
  mutex_.unlock();
  try {
    for (std::size_t i = work.begin; i < work.end; ++i) {
      if (reader == nullptr)
        fill_slot(own.slots[i], own);
      else
        usable = fill_stored(own.slots[i], own, *reader, scratch, corrupt);
    }
  } catch (...) {
    failure = std::current_exception();
  }
  mutex_.lock();
  if (failure) return fail(failure);
  Progress& filled = progress(work.batch);
  for (CorruptImage& image : corrupt) filled.corrupt.emplace_back(work.begin, std::move(image));
  own.batch.usable = own.batch.usable && usable;
  filled.left -= work.end - work.begin;
  if (filled.left == 0) finish(work.batch);
}

/// Completes a filled buffer. Batches are ready up to the first one that is not filled.
void Loader::finish(std::int64_t number) {
  auto& corrupt = progress(number).corrupt;
  std::stable_sort(corrupt.begin(), corrupt.end(),
                   [](const auto& a, const auto& b) { return a.first < b.first; });
  for (auto& [slot, image] : corrupt) buffer(number).batch.corrupt.push_back(std::move(image));
  while (made_ < chosen_ && progress(made_).left == 0) ++made_;
  made_changed_.notify_one();
}

void Loader::fill_slot(std::size_t slot, Buffer& own) {
  Batch& batch = own.batch;
  const ImageSet& images = dataset_.train;
  const std::size_t size = images.image_size();
  const std::uint32_t index = batch.sample_ids[slot];
  if (images.per_pixel)
    make_mask(images, index, own.augment, batch.masks + slot * images.mask_size());
  if (!options_.raw) return make_image(images, index, own.augment, batch.images + slot * size);
  std::memcpy(batch.pixels + slot * size, images.image(index), size);
  batch.maps[slot] = image_map(images, index, own.augment);
}

/// Fills a slot from an image on disk. Returns false if the image must stop the run.
bool Loader::fill_stored(std::size_t slot, Buffer& own, ImageReader& reader, Scratch& scratch,
                         std::vector<CorruptImage>& corrupt) {
  Batch& batch = own.batch;
  const ImageSet& images = dataset_.train;
  const std::size_t size = images.image_size();
  const std::uint32_t index = batch.sample_ids[slot];
  std::uint8_t* out = options_.raw ? batch.pixels + slot * size : scratch.pixels.data();
  std::uint8_t* mask = images.per_pixel ? scratch.mask.data() : nullptr;
  const ImageReader::Result result = reader.read(index, samples_, &own.augment, out, mask, corrupt);
  if (images.per_pixel)
    make_mask(images, mask, index, own.augment, batch.masks + slot * images.mask_size());
  batch.labels[slot] = images.labels[result.sample];
  if (options_.raw)
    batch.maps[slot] = image_map(images, index, own.augment);
  else
    make_image(images, out, index, own.augment, batch.images + slot * size);
  return result.usable;
}

void Loader::clear_slots(std::size_t begin, std::size_t end, Batch& batch) {
  const std::size_t size = dataset_.train.image_size();
  if (options_.raw)
    std::fill(batch.maps + begin, batch.maps + end, ImageMap{});
  else
    std::fill(batch.images + begin * size, batch.images + end * size, 0.0f);
  const std::size_t mask_size = dataset_.train.mask_size();
  if (batch.masks != nullptr)
    std::fill(batch.masks + begin * mask_size, batch.masks + end * mask_size, kIgnoredPixel);
}

void Loader::make_order(std::int64_t epoch) {
  if (order_epoch_ == epoch) return;
  epoch_order(samples_, options_.seed, epoch, options_.shuffle, order_);
  order_epoch_ = epoch;
}

/// Fills everything of a batch except its images.
void Loader::choose(std::int64_t step, Buffer& own) {
  const Batching& batching = options_.batching;
  Batch& batch = own.batch;
  const std::int64_t step_in_epoch = step % batching.steps_per_epoch();
  batch.step = step;
  batch.epoch = step / batching.steps_per_epoch();
  batch.last_of_epoch = step_in_epoch + 1 == batching.steps_per_epoch();
  batch.global_samples = batching.batch_samples(step_in_epoch);
  batch.corrupt.clear();
  batch.usable = true;
  own.augment.epoch = batch.epoch;
  own.slots.clear();
  make_order(batch.epoch);

  const ImageSet& images = dataset_.train;
  const auto per_replica = static_cast<std::size_t>(batching.batch_per_replica);
  for (std::size_t r = 0; r < batch.replica_samples.size(); ++r) {
    const Interval positions =
        batching.positions(step_in_epoch, options_.replicas.begin + static_cast<int>(r));
    batch.replica_samples[r] = positions.size();
    std::size_t slot_number = r * per_replica;
    const std::size_t end = slot_number + per_replica;
    for (int position = positions.begin; position < positions.end; ++position, ++slot_number) {
      const std::uint32_t index = order_[static_cast<std::size_t>(position)];
      if (index >= images.size()) {
        throw std::out_of_range(fmt::format("loader: sample {} of {}: the data set has {}", index,
                                            dataset_.name, images.size()));
      }
      own.slots.push_back(static_cast<std::uint32_t>(slot_number));
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
