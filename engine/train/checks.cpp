// What can be checked before training, with places in the file.
#include <fmt/format.h>

#include "engine/model/zoo.h"
#include "engine/train/trainer.h"
#include "kernels/error.h"

namespace syncnorm {

Graph checked_model(const LoadedExperiment& loaded, const Dataset& dataset) {
  try {
    return build_model(loaded.experiment,
                       {dataset.train.height, dataset.train.width, dataset.train.channels},
                       dataset.train.classes);
  } catch (const InputError& error) {
    // Messages begin with a key, with a place already, or with the layer.
    const std::string message = error.what();
    if (message.rfind("norm.groups:", 0) == 0)
      throw InputError(loaded.at("norm.groups") + ": " + message);
    if (message.rfind("model.architecture:", 0) == 0)
      throw InputError(loaded.at("model.architecture") + ": " + message);
    if (message.rfind("layer '", 0) == 0)
      throw InputError(loaded.at("model") + ": model: " + message);
    throw;
  }
}

void check_ranks(const LoadedExperiment& loaded, int ranks) {
  const int replicas = loaded.experiment.replicas;
  if (ranks > replicas)
    throw InputError(fmt::format("{}: replicas: {} replicas cannot be spread over {} ranks; start at "
                                 "most {} ranks, or raise replicas",
                                 loaded.at("replicas"), replicas, ranks, replicas));
}

}  // namespace syncnorm
