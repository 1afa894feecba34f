// Converts training state to the files of a checkpoint, and back.
//
// model.safetensors has PyTorch's names and layouts and loads into an ordinary PyTorch module;
// optimizer.safetensors has one tensor per parameter and kind of state; statistics.safetensors has
// the running pairs of every group if there are several; history.safetensors has what norms keep
// of earlier updates, for every group, if they keep any. ema.safetensors and
// ema_statistics.safetensors are model and statistics of the averaged weights, if there are any.
#pragma once

#include <map>
#include <string>
#include <vector>

#include "engine/state/running.h"

namespace syncnorm {

/// A state vector of the optimizer, flat in the parameters' layout; not owned.
struct OptimizerVector {
  std::string name;
  Mirror& values;
};

/// The state that is saved and restored; not owned.
struct TrainingState {
  const Graph& graph;
  const Program& program;  // the training program: layout and running slots
  Memory& memory;
  std::vector<OptimizerVector> optimizer;
  RunningStatistics& running;
};

/// Returns the files for the state after `step` updates. memory.averaged must be current
/// (running.average()); `all_running` is running.gather_all(), `history` running.gather_history().
std::map<std::string, std::string> state_to_files(const TrainingState& state, std::int64_t step,
                                                  const std::vector<float>& all_running,
                                                  const std::vector<float>& history);

/// Adds the averaged weights to `files`. They are in memory.parameters, their running statistics in
/// memory.averaged; `all_running` is running.gather_all() with memory.running averaged, or empty
/// where that is not.
void add_average(const TrainingState& state, std::int64_t step,
                 const std::vector<float>& all_running, std::map<std::string, std::string>& files);
/// Restores them into memory.parameters and, with `has_running`, memory.running; sets
/// memory.averaged. Returns false if the checkpoint has none.
bool average_from_files(const TrainingState& state, bool has_running,
                        const std::map<std::string, std::string>& files);

/// Restores the whole state. Throws CheckpointError if names or shapes differ from the model's.
void state_from_files(const TrainingState& state, const std::map<std::string, std::string>& files);

/// Restores parameters and averaged running statistics for evaluation, from weights that any
/// program wrote (weights_file.h). Errors refer to the file as `name`. Returns notes for the user,
/// such as unused tensors.
std::vector<std::string> model_from_file(const Graph& graph, const Program& program, Memory& memory,
                                         const std::string& file, const std::string& name);

/// Restores weights before training, as above. A classifier (the last layer) whose shape differs
/// from the file's keeps its initial values, because fine-tuning often changes the number of
/// classes. So do parameters and statistics of norms that the file does not have, because it was
/// trained with other norms (norm_change.h).
std::vector<std::string> start_from_file(const Graph& graph, const Program& program, Memory& memory,
                                         const std::string& file, const std::string& name);

}  // namespace syncnorm
