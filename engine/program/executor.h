// Runs a program: repeats each instruction for this rank's replicas, folds and starts reductions,
// makes them progress in between, and measures what they leave exposed.
//
// A step allocates nothing. Several executors (training, a smaller last batch, evaluation) may
// share one Memory: they run one at a time.
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
  /// Calls `hook`, which must outlive it or be removed, from now on.
  void add_hook(ExecutionHook& hook) { hooks_.push_back(&hook); }
  void remove_hook(ExecutionHook& hook) { std::erase(hooks_, &hook); }
  /// True where no hook must be called in every step.
  bool can_be_recorded() const;

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
  /// The layer and operation of an instruction.
  std::string instruction_name(int index) const;

  const Program& program() const { return program_; }
  std::size_t arena_bytes() const { return arena_bytes_; }
  const LocalReplicas& replicas() const { return replicas_; }
  const TensorMemory& tensors() const { return tensors_; }
  BatchInput& input() { return *input_; }
  /// True: steps and reductions are queued on a device with memory of its own, and run beside the
  /// host. False: run() returns when they are done.
  bool queued() const { return queued_; }
  void clear_arena() { device_.zero(memory_.arena.data(), memory_.arena.bytes()); }
  /// The reductions and their costs; by index in program().reductions.
  Reductions& reductions() { return reductions_; }
  const Reductions& reductions() const { return reductions_; }
  /// Only the convolutions and linear layers of a step, back to back, on what its tensors hold: the
  /// limit that a step's time is compared with.
  void run_limit(const StepState& state, const BatchView& batch);

 private:
  struct Step {
    std::vector<Kernel*> kernels;  // per local replica; one entry for once, group and merged
    std::vector<Kernel*> merges;   // of gradients in slots of the fold, per output; or empty
  };
  void compile_kernels();
  void reserve();
  Kernel* kernel(const Op& op, int samples);

  void run_instruction(std::size_t index, const StepState& state, bool prepare);
  void call(const Instruction& instruction, Kernel* kernel, int replica, const StepState& state);
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
  const LocalReplicas replicas_;
  std::size_t arena_bytes_ = 0;

  std::map<std::string, std::unique_ptr<Kernel>> kernels_;
  std::vector<Step> steps_;
  Reductions reductions_;
  std::vector<ExecutionHook*> hooks_;
  TensorMemory tensors_;
  std::unique_ptr<BatchInput> input_;
};

}  // namespace syncnorm
