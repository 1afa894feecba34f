// The input and output that a network was trained for. A checkpoint keeps it in its manifest, for
// commands that have no data set.
#pragma once

#include <string>
#include <vector>

#include <nlohmann/json.hpp>

#include "engine/data/dataset.h"

namespace syncnorm {

struct InputDescription {
  int height = 0, width = 0, channels = 0;  // of a training image
  int classes = 0;
  bool per_pixel = false;
  std::vector<float> mean, stddev;       // per channel of images scaled to [0, 1]
  std::vector<std::string> class_names;  // [classes], or empty

  bool known() const { return classes > 0; }
};

InputDescription describe_input(const Dataset& dataset);

/// The description as JSON, and from it. Throws nlohmann::json::exception or InputError for
/// anything that is no description.
nlohmann::ordered_json to_json(const InputDescription& input);
InputDescription input_from_json(const nlohmann::ordered_json& json);

}  // namespace syncnorm
