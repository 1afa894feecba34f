// Runs a program: repeats each instruction for this rank's replicas, folds gradients, starts
// reductions, drives their progress, and measures how much of their time is exposed.
//
// A step allocates nothing. Several executors (training, a smaller last batch, evaluation) may
// share one Memory, since they run one at a time.
#pragma once

#include <array>
#include <functional>
#include <map>
#include <memory>
#include <span>
#include <string>
#include <vector>

#include "engine/program/batch_input.h"
#include "engine/program/execution_hook.h"
#include "engine/program/program.h"
#include "engine/program/reductions.h"
#include "engine/program/tensor_memory.h"

namespace syncnorm {

class Executor {
 public:
  /// `comm` is the world for training and a self communicator for evaluation. `groups` may be null
  /// if the program has no statistics reductions. On a device with its own memory, the collectives
  /// of `comm` and of the groups are queued on the device (queued_reduction.h). Collective over
  /// `comm`.
  Executor(Program program, Device& device, Communicator& comm, const Placement& placement,
           const StatisticsGroups* groups, ReductionAlgorithm algorithm, Memory& memory);

  /// Runs the whole program. `prepare` includes the instructions that depend only on parameters
  /// (packing weights, converting running statistics).
  void run(const StepState& state, const BatchView& batch, bool prepare = true) {
    load(batch);
    run_loaded(state, prepare);
  }
  /// Run run() in two parts: load() queues the batch, which must stay unchanged until it has been
  /// taken; run_loaded() queues the rest, which can be recorded (Device::begin_recording) and
  /// replayed on other batches.
  void load(const BatchView& batch);
  void run_loaded(const StepState& state, bool prepare = true);
  /// Adds a hook. It must outlive the executor or be removed.
  void add_hook(ExecutionHook& hook) { hooks_.push_back(&hook); }
  void remove_hook(ExecutionHook& hook) { std::erase(hooks_, &hook); }
  /// Returns true if no hook must be called in every step.
  bool can_be_recorded() const;

  /// Returns the loss values of the last run (kLossTotals), reduced over all ranks in training, and
  /// this rank's own in evaluation.
  std::array<double, kLossValues> loss() const;
  /// Returns the device address of the loss values.
  const double* loss_values() const;

  /// Calls the hooks while the host waits for a queued step. Throws PeerLostError when a
  /// communicator has failed.
  void follow(std::int64_t step);
  /// Ends the reductions that hang on the device after a PeerLostError.
  void give_up();
  /// Returns the reduction that the device has started but not finished, as ", in ..."; "" for
  /// none.
  std::string where() const;

  /// Runs the forward pass alone without updating running statistics, and calls `see` after each
  /// compute instruction for every local replica, while its arguments are still in memory.
  /// Collective like run(). Changes no state except the arena and the packed weights.
  using SeeFunction = std::function<void(std::size_t instruction, int replica)>;
  void run_forward(StepState state, const BatchView& batch, const SeeFunction& see);
  /// Returns the layer and operation of an instruction.
  std::string instruction_name(int index) const;

  const Program& program() const { return program_; }
  std::size_t arena_bytes() const { return arena_bytes_; }
  const LocalReplicas& replicas() const { return replicas_; }
  const TensorMemory& tensors() const { return tensors_; }
  BatchInput& input() { return *input_; }
  /// Returns true if steps and reductions are queued on a device with its own memory and run
  /// asynchronously. Otherwise run() returns when they are done.
  bool queued() const { return queued_; }
  void clear_arena() { device_.zero(memory_.arena.data(), memory_.arena.bytes()); }
  /// The reductions and their costs, indexed as program().reductions.
  Reductions& reductions() { return reductions_; }
  const Reductions& reductions() const { return reductions_; }
  /// Runs only the convolutions and linear layers of a step, back to back, on whatever their
  /// tensors hold: a lower bound to which a step's time is compared.
  void run_limit(const StepState& state, const BatchView& batch);

 private:
  struct Step {
    std::vector<Kernel*> kernels;  // per local replica; one entry for scopes once and merged
    std::vector<Kernel*> merges;   // add gradients of fold slots, per output; may be empty
    Kernel* merged = nullptr;      // of all replicas of a wave in one call, if there is one
  };
  void compile_kernels();
  void reserve();
  void reserve_arena();
  Kernel* kernel(const Op& op, int samples);

  void run_instruction(std::size_t index, const StepState& state, bool prepare);
  void call(const Instruction& instruction, Kernel* kernel, int replica, const StepState& state);
  void call_for_replicas(std::size_t index, int first, int end, const StepState& state);
  /// Calls the instruction's kernels for replica `first` and as many after it as one call can do.
  /// Returns the first that it did not do. A replica without samples has no kernel to call.
  int call_next(std::size_t index, int first, int end, const StepState& state);
  int end_of_run(std::size_t index, int first, int end) const;
  void call_repeated(std::size_t index, int first, int end, const StepState& state);
  bool adjacent(const Instruction& instruction, std::span<const std::size_t> strides) const;
  void tell_ran(std::size_t index, int replica);
  void contribute_nothing(const Instruction& instruction, int replica);
  void merge_gradients(std::size_t index, int replica, const StepState& state);
  void start_reduction(int index);
  bool runs_in_this_wave(const Instruction& instruction) const;
  /// Calls `action` once for every wave.
  template <class Action>
  void for_each_wave(const Action& action);

  Program program_;
  Device& device_;
  Memory& memory_;
  const bool queued_;
  LocalReplicas replicas_;
  std::size_t arena_bytes_ = 0;

  std::map<std::string, std::unique_ptr<Kernel>> kernels_;
  std::vector<Step> steps_;
  Reductions reductions_;
  std::vector<ExecutionHook*> hooks_;
  TensorMemory tensors_;
  std::unique_ptr<BatchInput> input_;
};

}  // namespace syncnorm
