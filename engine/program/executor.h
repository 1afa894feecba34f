// Runs a program: repeats each instruction for this rank's replicas, folds and starts reductions,
// makes them progress in between, and measures what they leave exposed.
//
// A step allocates nothing. Several executors (training, a smaller last batch, evaluation) may
// share one Memory: they run one at a time.
#pragma once

#include <array>
#include <chrono>
#include <functional>
#include <map>
#include <memory>
#include <optional>
#include <span>
#include <string>
#include <vector>

#include "engine/program/execution_hook.h"
#include "engine/program/program.h"
#include "engine/program/reductions.h"
#include "kernels/mirror.h"

namespace syncnorm {

/// The buffers behind the spaces of a program. Sizes only grow.
struct Memory {
  Mirror parameters;
  Mirror running;  // one set per local group
  Mirror averaged;
  Buffer gradients;  // `gradient_slots` copies of the flat gradient
  Buffer packed;
  Buffer arena;
  int gradient_slots = 0;
};

/// Pointers to the batch of this rank's replicas, laid out [local replicas][batch_per_replica]...,
/// in the host's memory, for the time of a run.
struct BatchView {
  const float* images = nullptr;
  const std::int32_t* labels = nullptr;
  const std::uint32_t* sample_ids = nullptr;
  // Instead of images, on a device with memory of its own after Executor::make_images_there().
  const std::uint8_t* pixels = nullptr;
  const ImageMap* maps = nullptr;
};

/// Where a nan or an infinity was first seen.
struct NonFinite {
  int instruction = -1;  // index in the program; -1: nowhere
  std::string values;    // how many of its output, and the range of the others
};

class Executor {
 public:
  /// `comm` is the world for training and a self communicator for evaluation. `groups` may be null
  /// where the program has no statistics reductions. On a device with memory of its own, `comm` and
  /// the groups' communicators queue on it (queued_reduction.h). `force_reductions`: they do so for
  /// a single rank, too. Collective over `comm`.
  Executor(Program program, Device& device, Communicator& comm, const Placement& placement,
           const StatisticsGroups* groups, ReductionAlgorithm algorithm, Memory& memory,
           bool force_reductions = false);

  /// Runs the whole program. `prepare`: also the instructions that only parameters feed (weights
  /// packed, running statistics converted).
  void run(const StepState& state, const BatchView& batch, bool prepare = true) {
    load(batch);
    run_loaded(state, prepare);
  }
  /// The same in two parts: queues taking the batch, which must stay until that is done; queues
  /// the rest, which can be recorded (Device::begin_recording) and then replayed on other batches.
  void load(const BatchView& batch);
  void run_loaded(const StepState& state, bool prepare = true);
  /// From now on batches may hold stored images of this shape, of which the device makes what the
  /// network sees. `table`: what each byte becomes, [channels, 256].
  void make_images_there(const MakeImages& shape, std::span<const float> table);
  /// Calls `hook`, which must outlive it or be removed, from now on.
  void add_hook(ExecutionHook& hook) { hooks_.push_back(&hook); }
  void remove_hook(ExecutionHook& hook) { std::erase(hooks_, &hook); }
  /// True where no hook must be called in every step.
  bool can_be_recorded() const;

  /// Values of a persistent f64 tensor for one local replica (and so for its group).
  std::vector<double> doubles(int tensor, int replica) const;
  /// The values of any f64 tensor of one local replica, as they are now.
  std::vector<double> doubles_now(int tensor, int replica) const;
  /// Sets them to zero.
  void zero(int tensor, int replica);

  /// The reduced loss values of the last run: Σ loss, correct, votes, 0. Evaluation: of this call.
  std::array<double, kLossValues> loss() const;
  /// Where they are, on the device.
  const double* loss_values() const;

  /// To be called while the host waits for a step that was queued; calls the hooks. Throws
  /// PeerLostError when a communicator has failed.
  void follow(std::int64_t step);
  /// After a PeerLostError: ends the reductions that hang on the device.
  void give_up();
  /// The reduction that the device has started and not finished, as ", in ..."; "" for none.
  std::string where() const;

  /// Runs the forward pass alone, leaving the running statistics as they are, and shows `see` each
  /// compute instruction once it has run for a local replica, while its arguments are still there.
  /// Collective like run(). Changes no state but the arena and the packed weights.
  using SeeFunction = std::function<void(std::size_t instruction, int replica)>;
  void run_forward(StepState state, const BatchView& batch, const SeeFunction& see);
  /// The values of an f32 or bf16 tensor of one local replica, as they are now.
  std::vector<float> floats(int tensor, int replica) const;

  /// Runs the forward pass again and returns the first instruction that wrote a nan or an infinity
  /// on this rank. Collective like run(). Changes no state but the arena.
  NonFinite find_nonfinite(StepState state, const BatchView& batch);
  /// The layer and operation of an instruction.
  std::string instruction_name(int index) const;

  const Program& program() const { return program_; }
  std::size_t arena_bytes() const { return arena_bytes_; }
  int replicas_together() const { return wave_; }
  int local_replicas() const { return local_; }
  /// The reductions and their costs; by index in program().reductions.
  Reductions& reductions() { return reductions_; }
  const Reductions& reductions() const { return reductions_; }
  /// Only the convolutions and linear layers of a step, back to back, on what its tensors hold: the
  /// limit that a step's time is compared with.
  void run_limit(const StepState& state, const BatchView& batch);
  /// Makes the first value of a tensor of the replicas at work a nan, or of what a reduction sums
  /// up.
  void put_nan(int tensor);
  void put_nan(const ReductionSpec& reduction);

 private:
  struct Step {
    std::vector<Kernel*> kernels;  // per local replica; one entry for once, group and merged
    std::vector<Kernel*> merges;   // of gradients in places of the fold, per output; or empty
  };
  void compile_kernels();
  void reserve();
  Kernel* kernel(const Op& op, int samples);

  void take_stored_images(const BatchView& batch);
  void run_instruction(std::size_t index, const StepState& state, bool prepare);
  void call(const Instruction& instruction, Kernel* kernel, int replica, const StepState& state);
  void tell_ran(std::size_t index, int replica);
  void contribute_nothing(const Instruction& instruction, int replica);
  void merge_gradients(std::size_t index, int replica, const StepState& state);
  void start_reduction(int index);
  bool runs_in_this_wave(const Instruction& instruction) const;
  std::string nonfinite_output(const Instruction& instruction, int replica) const;

  std::byte* pointer(int tensor, int replica) const;
  float* gradient_pointer(std::size_t slot, std::size_t offset_floats) const;
  int group_of(int replica) const { return group_of_[static_cast<std::size_t>(replica)]; }
  int wave_end() const { return std::min(wave_begin_ + wave_, local_); }

  Program program_;
  Device& device_;
  Communicator& comm_;
  Memory& memory_;
  int local_ = 1;  // replicas on this rank
  int wave_ = 1;   // replicas computed together
  int groups_in_wave_ = 1;
  std::vector<int> samples_;             // of each local replica
  std::vector<int> group_of_;            // local group index of each local replica
  std::vector<Interval> group_members_;  // local replicas of each local group
  std::size_t arena_bytes_ = 0;

  std::map<std::string, std::unique_ptr<Kernel>> kernels_;
  std::vector<Step> steps_;
  Reductions reductions_;
  std::vector<ExecutionHook*> hooks_;

  BatchView batch_;                      // where kernels find it
  Buffer images_, labels_, sample_ids_;  // on a device with memory of its own
  /// Where stored images arrive on it while the step before runs; used in turns.
  struct Arrival {
    Buffer pixels, maps;
    std::unique_ptr<Event> there, taken;
  };
  std::array<Arrival, 2> arrivals_;
  std::size_t next_arrival_ = 0;
  Buffer image_table_;
  std::unique_ptr<Kernel> make_images_;
  int wave_begin_ = 0;
};

}  // namespace syncnorm
