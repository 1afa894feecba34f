// The training state as files of a checkpoint, and back.
//
// model.safetensors has PyTorch's names and layouts and loads into an ordinary PyTorch module;
// optimizer.safetensors has one tensor per parameter and kind of state; statistics.safetensors has
// the running pairs of every group where there are several.
#pragma once

#include <map>
#include <string>
#include <vector>

#include "engine/state/running.h"

namespace syncnorm {

/// A vector of the optimizer's, flat in the parameters' layout; not owned.
struct OptimizerVector {
  std::string name;
  Mirror& values;
};

/// What is saved and restored; not owned.
struct TrainingState {
  const Graph& graph;
  const Program& program;  // the training program: layout and running slots
  Memory& memory;
  std::vector<OptimizerVector> optimizer;
  RunningStatistics& running;
};

/// The files for the state after `step` updates. memory.averaged must be current
/// (running.average()), `all_running` is running.gather_all().
std::map<std::string, std::string> state_to_files(const TrainingState& state, std::int64_t step,
                                                  const std::vector<float>& all_running);

/// Restores everything. Throws CheckpointError when names or shapes differ from the model's.
void state_from_files(const TrainingState& state, const std::map<std::string, std::string>& files);

/// Restores parameters and averaged running statistics from the weights of any program
/// (weights_file.h), for evaluation. `name` stands for the file in errors. Returns what the user
/// should know, such as tensors that are not used.
std::vector<std::string> model_from_file(const Graph& graph, const Program& program, Memory& memory,
                                         const std::string& file, const std::string& name);

/// The same before training: a classifier (the last layer) of another shape than the file's keeps
/// its start, because fine-tuning often changes the number of classes.
std::vector<std::string> start_from_file(const Graph& graph, const Program& program, Memory& memory,
                                         const std::string& file, const std::string& name);

}  // namespace syncnorm
