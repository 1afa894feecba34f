// See batch_input.h.
#include "engine/program/batch_input.h"

#include <algorithm>
#include <array>
#include <cassert>
#include <cstddef>

#include <fmt/format.h>

#include "base/error.h"

namespace syncnorm {

void BatchInput::make_images(const MakeImages&, std::span<const float>) {}

namespace {

class HostInput final : public BatchInput {
 public:
  BatchView take(const BatchView& batch) override { return batch; }
};

class DeviceInput final : public BatchInput {
 public:
  DeviceInput(Device& device, const Program& program, int replicas)
      : device_(device),
        samples_(replicas * program.options.batch_per_replica),
        image_storage_(program.image_storage),
        images_(reserve(program, Space::image, replicas)),
        labels_(reserve(program, Space::label, replicas)),
        masks_(reserve(program, Space::mask, replicas)),
        sample_ids_(reserve(program, Space::sample_id, replicas)) {}

  BatchView take(const BatchView& batch) override {
    BatchView there = batch;
    const auto copy = [&]<class T>(const T*& values, Buffer& buffer) {
      if (values == nullptr || buffer.bytes() == 0) return;
      device_.copy(buffer.data(), values, buffer.bytes());
      values = reinterpret_cast<const T*>(buffer.data());
    };
    if (batch.pixels != nullptr) {
      there.images = take_stored(batch);
    } else {
      assert(image_storage_ == Storage::f32);
      copy(there.images, images_);
    }
    copy(there.labels, labels_);
    copy(there.masks, masks_);
    copy(there.sample_ids, sample_ids_);
    return there;
  }

  void make_images(const MakeImages& shape, std::span<const float> table) override {
    MakeImages op = shape;
    op.samples = samples_;
    op.storage = image_storage_;
    make_images_ = device_.compile(op);
    table_ = device_.allocate(table.size_bytes());
    device_.copy(table_.data(), table.data(), table.size_bytes());
    const auto samples = static_cast<std::size_t>(op.samples);
    for (Arrival& arrival : arrivals_) {
      arrival.pixels = device_.allocate(samples * static_cast<std::size_t>(op.height) *
                                        static_cast<std::size_t>(op.width) *
                                        static_cast<std::size_t>(op.channels));
      arrival.maps = device_.allocate(samples * sizeof(ImageMap));
      arrival.there = device_.make_event();
      arrival.taken = device_.make_event();
    }
    device_.synchronize();
  }

  bool takes_stored_images() const override { return make_images_ != nullptr; }

 private:
  /// Buffers for stored images that arrive while the previous step runs; two are used in turn.
  struct Arrival {
    Buffer pixels, maps;
    std::unique_ptr<Event> there, taken;
  };

  Buffer reserve(const Program& program, Space space, int replicas) const {
    std::size_t bytes = 0;
    for (const Tensor& tensor : program.tensors)
      if (tensor.space == space) bytes = std::max(bytes, tensor.bytes);
    if (bytes == 0) return {};
    try {
      return device_.allocate(bytes * static_cast<std::size_t>(replicas));
    } catch (const InputError& error) {
      throw InputError(fmt::format("no memory for {}: {}",
                                   space == Space::image ? "images" : "labels", error.what()));
    }
  }

  /// Copies the stored images on a queue of its own, concurrently with the previous step.
  const void* take_stored(const BatchView& batch) {
    Arrival& arrival = arrivals_[next_arrival_++ % arrivals_.size()];
    const Queue before = device_.use_queue(Queue::input);
    device_.run_after(*arrival.taken);
    device_.copy(arrival.pixels.data(), batch.pixels, arrival.pixels.bytes());
    device_.copy(arrival.maps.data(), batch.maps, arrival.maps.bytes());
    device_.record(*arrival.there);
    device_.use_queue(before);
    device_.run_after(*arrival.there);
    make_images_->run(pointer_list<MakeImages>({.stored = arrival.pixels.as<std::uint8_t>().data(),
                                                .maps = arrival.maps.as<ImageMap>().data(),
                                                .table = table_.as<float>().data(),
                                                .images = images_.data()}),
                      {});
    device_.record(*arrival.taken);
    return images_.data();
  }

  Device& device_;
  const int samples_;
  const Storage image_storage_;
  Buffer images_, labels_, masks_, sample_ids_;
  std::array<Arrival, 2> arrivals_;
  std::size_t next_arrival_ = 0;
  Buffer table_;
  std::unique_ptr<Kernel> make_images_;
};

}  // namespace

std::unique_ptr<BatchInput> make_host_input() { return std::make_unique<HostInput>(); }

std::unique_ptr<BatchInput> make_device_input(Device& device, const Program& program,
                                              int replicas) {
  return std::make_unique<DeviceInput>(device, program, replicas);
}

}  // namespace syncnorm
