// Addresses of a program's tensors, for the replicas of one rank.
//
// A tensor lies in a space (arena, parameters, ...), and each space is a buffer. A tensor has one
// copy, or one per replica or group of replicas; some have copies only for the replicas that are
// computed together.
#pragma once

#include <algorithm>
#include <cstddef>
#include <cstdint>
#include <vector>

#include "comm/replicas.h"
#include "comm/tree.h"
#include "engine/program/program.h"
#include "kernels/device.h"
#include "kernels/mirror.h"

namespace syncnorm {

/// The buffers of a program's spaces. Sizes only grow.
struct Memory {
  Mirror parameters;
  Mirror running;  // one set per local group
  Mirror averaged;
  Mirror history;    // one set per local group
  Buffer gradients;  // `gradient_slots` copies of the flat gradient
  Buffer packed;
  Buffer arena;
  int gradient_slots = 0;
};

/// Pointers to the batch of this rank's replicas, laid out [local replicas][batch_per_replica]...,
/// in host memory, valid during a run.
struct BatchView {
  const void* images = nullptr;  // f32; as kernels read it, in Program::image_storage
  const std::int32_t* labels = nullptr;
  const std::uint32_t* sample_ids = nullptr;
  // Replaces images after BatchInput::make_images() on a device with its own memory.
  const std::uint8_t* pixels = nullptr;
  const ImageMap* maps = nullptr;
  const std::uint8_t* masks = nullptr;  // with labels per pixel
};

/// The replicas of one rank. A wave is the replicas that are computed together.
struct LocalReplicas {
  /// `own` are this rank's replicas; `group_size` replicas share statistics.
  LocalReplicas(const Program& program, Interval own, int group_size);

  int group_of(int replica) const { return groups_of[static_cast<std::size_t>(replica)]; }
  /// Returns the number of replicas that must be computed together.
  static int least_wave(const Program& program, int count);
  /// Makes a wave `replicas` replicas, all of them or any number where no group has two.
  void compute_together(int replicas);
  /// Returns true if every replica has the same number of samples, at least one.
  bool equal_samples() const;
  /// Returns the end of the wave that begins with local replica `first`.
  int wave_end(int first) const { return std::min(first + wave, count); }

  int count = 1;
  int wave = 1;
  int groups_in_wave = 1;
  std::vector<int> samples;       // per replica
  std::vector<int> groups_of;     // index of the local group, per replica
  std::vector<Interval> members;  // replicas of each local group
};

/// Addresses and values of tensors. Reading a tensor that is not persistent returns what its memory
/// holds now. Everything passed to the constructor must outlive this.
class TensorMemory {
 public:
  /// `fold` is the plan by which this rank's replicas add their gradients.
  TensorMemory(const Program& program, Device& device, const Memory& memory,
               const LocalReplicas& replicas, const FoldPlan& fold)
      : program_(program), device_(device), memory_(memory), replicas_(replicas), fold_(fold) {}

  void set_batch(const BatchView& batch) { batch_ = batch; }
  /// Sets the current wave by its first local replica.
  void set_wave(int first) { wave_ = first; }
  int wave() const { return wave_; }

  std::byte* at(int tensor, int replica) const;
  /// Returns the address of value `offset` of the flat gradient in slot `slot` of the fold.
  float* gradient(std::size_t slot, std::size_t offset) const;

  std::vector<std::byte> bytes(int tensor, int replica) const;
  /// Returns the values of an f64 tensor.
  std::vector<double> doubles(int tensor, int replica) const;
  /// Returns the values of an f32 or bf16 tensor.
  std::vector<float> floats(int tensor, int replica) const;
  void zero(int tensor, int replica) const;
  /// Sets the first value of a tensor of the current wave, or of a reduction's leaf, to nan.
  void put_nan(int tensor) const;
  void put_nan(const ReductionSpec& reduction) const;

 private:
  const Tensor& tensor(int index) const {
    return program_.tensors[static_cast<std::size_t>(index)];
  }

  const Program& program_;
  Device& device_;
  const Memory& memory_;
  const LocalReplicas& replicas_;
  const FoldPlan& fold_;
  BatchView batch_;  // as kernels read it
  int wave_ = 0;
};

}  // namespace syncnorm
