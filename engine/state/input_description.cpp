// See input_description.h.
#include "engine/state/input_description.h"

#include <algorithm>
#include <cmath>

#include "base/error.h"
#include "base/json_values.h"

namespace syncnorm {
namespace {

constexpr std::int64_t kMost = 1 << 20;  // classes, and pixels of a side

int count_in(const nlohmann::ordered_json& json, const char* key) {
  const std::int64_t value = whole_number(json, key, 1);
  if (value > kMost) throw InputError(std::string(key) + " is too large");
  return static_cast<int>(value);
}

bool are_finite(const std::vector<float>& values) {
  return std::all_of(values.begin(), values.end(), [](float v) { return std::isfinite(v); });
}

}  // namespace

InputDescription describe_input(const Dataset& dataset) {
  const ImageSet& images = dataset.train;
  return {images.height,    images.width, images.channels, images.classes,
          images.per_pixel, dataset.mean, dataset.stddev,  dataset.class_names};
}

nlohmann::ordered_json to_json(const InputDescription& input) {
  return {{"height", input.height},
          {"width", input.width},
          {"channels", input.channels},
          {"classes", input.classes},
          {"labels", input.per_pixel ? "pixels" : "images"},
          {"mean", input.mean},
          {"std", input.stddev},
          {"class_names", input.class_names}};
}

InputDescription input_from_json(const nlohmann::ordered_json& json) {
  InputDescription input;
  input.height = count_in(json, "height");
  input.width = count_in(json, "width");
  input.channels = count_in(json, "channels");
  input.classes = count_in(json, "classes");
  input.per_pixel = json.at("labels").get<std::string>() == "pixels";
  input.mean = json.at("mean").get<std::vector<float>>();
  input.stddev = json.at("std").get<std::vector<float>>();
  input.class_names = json.at("class_names").get<std::vector<std::string>>();
  const auto channels = static_cast<std::size_t>(input.channels);
  if (input.mean.size() != channels || input.stddev.size() != channels || !are_finite(input.mean) ||
      !are_finite(input.stddev))
    throw InputError("mean and std do not have a number for every channel");
  if (!input.class_names.empty() &&
      input.class_names.size() != static_cast<std::size_t>(input.classes))
    throw InputError("class_names does not have a name for every class");
  return input;
}

}  // namespace syncnorm
