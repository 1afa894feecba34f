// What can be checked before training, with places in the file.
#include <fmt/format.h>

#include "base/error.h"
#include "engine/model/zoo.h"
#include "engine/train/trainer.h"

namespace syncnorm {

void with_places(const LoadedExperiment& loaded, const std::function<void()>& action) {
  try {
    action();
  } catch (const InputError& error) {
    // Messages begin with a key, with a place already, or with the layer.
    const std::string message = error.what();
    for (const char* key :
         {"norm.groups", "model.architecture", "metrics.password_file", "metrics.listen"})
      if (message.rfind(std::string(key) + ":", 0) == 0)
        throw InputError(loaded.at(key) + ": " + message);
    if (message.rfind("layer '", 0) == 0) {
      const char* section =
          message.find("batch normalization over") != std::string::npos ? "norm" : "model";
      throw InputError(fmt::format("{}: {}: {}", loaded.at(section), section, message));
    }
    throw;
  }
}

Graph checked_model(const LoadedExperiment& loaded, const Dataset& dataset) {
  Graph graph;
  with_places(loaded, [&] {
    graph = build_model(loaded.experiment,
                        {dataset.train.height, dataset.train.width, dataset.train.channels},
                        dataset.train.classes);
  });
  return graph;
}

void check_ranks(const LoadedExperiment& loaded, int ranks) {
  const int replicas = loaded.experiment.replicas;
  if (ranks > replicas)
    throw InputError(
        fmt::format("{}: replicas: {} replicas cannot be spread over {} ranks; start at "
                    "most {} ranks, or raise replicas",
                    loaded.at("replicas"), replicas, ranks, replicas));
}

}  // namespace syncnorm
