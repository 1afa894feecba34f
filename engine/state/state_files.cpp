// Converts training state to and from files. Names and shapes are checked against the model before
// anything is copied.
#include "engine/state/state_files.h"

#include <algorithm>
#include <set>

#include <fmt/format.h>
#include <fmt/ranges.h>

#include "base/error.h"
#include "engine/state/safetensors.h"
#include "engine/state/weights_file.h"

namespace syncnorm {
namespace {

constexpr const char* kModel = "model.safetensors";
constexpr const char* kOptimizer = "optimizer.safetensors";
constexpr const char* kStatistics = "statistics.safetensors";

std::string_view bytes_of(const float* values, std::size_t count) {
  return {reinterpret_cast<const char*>(values), count * sizeof(float)};
}

std::vector<std::int64_t> shape_of(const Parameter& parameter) {
  return {parameter.shape.begin(), parameter.shape.end()};
}

/// A tensor that a file must contain, and the address of its values in memory.
struct Place {
  std::string name;
  std::vector<std::int64_t> shape;
  float* values = nullptr;
  std::size_t count = 0;
};

std::vector<Place> parameter_places(const Graph& graph, const Program& program, float* flat,
                                    const std::string& prefix) {
  std::vector<Place> places;
  for (std::size_t p = 0; p < graph.parameters.size(); ++p)
    places.push_back({prefix + graph.parameters[p].name, shape_of(graph.parameters[p]),
                      flat + program.parameter_offset[p], graph.parameters[p].count()});
  return places;
}

std::vector<Place> running_places(const Graph& graph, const Program& program, float* set,
                                  const std::string& prefix) {
  std::vector<Place> places;
  for (const RunningSlot& slot : program.running) {
    const std::string layer = prefix + graph.layers[static_cast<std::size_t>(slot.layer)].name;
    const auto count = static_cast<std::size_t>(slot.channels);
    places.push_back({layer + ".running_mean", {slot.channels}, set + slot.mean, count});
    places.push_back({layer + ".running_var", {slot.channels}, set + slot.variance, count});
  }
  return places;
}

std::vector<Place> model_places(const Graph& graph, const Program& program, Memory& memory) {
  std::vector<Place> places =
      parameter_places(graph, program, memory.parameters.host<float>().data(), "");
  for (Place& place : running_places(graph, program, memory.averaged.host<float>().data(), ""))
    places.push_back(std::move(place));
  return places;
}

std::vector<Place> optimizer_places(const TrainingState& s) {
  std::vector<Place> places;
  for (const OptimizerVector& vector : s.optimizer)
    for (Place& place : parameter_places(s.graph, s.program, vector.values.host<float>().data(),
                                         vector.name + "."))
      places.push_back(std::move(place));
  return places;
}

std::vector<Place> statistics_places(const TrainingState& s, std::vector<float>& all) {
  std::vector<Place> places;
  for (int g = 0; g < s.running.groups(); ++g)
    for (Place& place : running_places(
             s.graph, s.program, all.data() + static_cast<std::size_t>(g) * s.running.floats(),
             fmt::format("group{}.", g)))
      places.push_back(std::move(place));
  return places;
}

std::vector<TensorView> views(const std::vector<Place>& places) {
  std::vector<TensorView> tensors;
  for (const Place& p : places)
    tensors.push_back({p.name, "F32", p.shape, bytes_of(p.values, p.count)});
  return tensors;
}

constexpr std::string_view kBatchCount = ".num_batches_tracked";

/// Tensors that a file may contain besides the wanted ones.
enum class Beside {
  nothing,  // none: the file is our own
  others,   // tensors of layers that the model does not have: the file of another program
};

std::string layer_of(const std::string& tensor) { return tensor.substr(0, tensor.rfind('.')); }

/// Rejects unused tensors, or lists them in `notes`. A tensor of a layer that the model has
/// indicates another norm, and is always rejected.
void look_at_unused(const std::vector<TensorView>& tensors, const std::vector<Place>& places,
                    Beside beside, const std::string& name, std::vector<std::string>& notes) {
  std::set<std::string> wanted, layers;
  for (const Place& place : places) {
    wanted.insert(place.name);
    layers.insert(layer_of(place.name));
  }
  std::vector<std::string> unused;
  for (const TensorView& tensor : tensors) {
    if (wanted.contains(tensor.name)) continue;
    if (beside == Beside::nothing || layers.contains(layer_of(tensor.name)))
      throw CheckpointError(fmt::format(
          "{}: tensor '{}' has no place in the model; the file is of another model or norm", name,
          tensor.name));
    unused.push_back(tensor.name);
  }
  constexpr std::size_t kNamed = 5;
  if (unused.empty()) return;
  const std::size_t named = std::min(kNamed, unused.size());
  notes.push_back(fmt::format(
      "{} tensor{} without a place in the model: not used: {}{}", unused.size(),
      unused.size() == 1 ? "" : "s",
      fmt::join(unused.begin(), unused.begin() + static_cast<std::ptrdiff_t>(named), ", "),
      unused.size() > named ? ", ..." : ""));
}

/// Copies the tensors of `file` to `places`. Skips PyTorch's batch counters and the tensors in
/// `unread`. Returns notes for the user.
std::vector<std::string> fill(const std::vector<Place>& places, const std::string& file,
                              const std::string& name, Beside beside,
                              const std::vector<std::string>& unread = {}) {
  std::vector<std::string> notes;
  std::vector<TensorView> tensors = parse_safetensors(file, name);
  if (beside == Beside::others) {
    std::vector<std::string> wanted;
    for (const Place& place : places) wanted.push_back(place.name);
    if (const std::string prefix = strip_prefix(tensors, wanted); !prefix.empty())
      notes.push_back(fmt::format("all names there begin with '{}', which is left out", prefix));
  }
  std::erase_if(tensors, [&](const TensorView& t) {
    return (t.name.size() > kBatchCount.size() && t.name.ends_with(kBatchCount)) ||
           std::find(unread.begin(), unread.end(), t.name) != unread.end();
  });
  std::vector<std::vector<float>> values;
  for (const Place& place : places) {
    const auto found = std::find_if(tensors.begin(), tensors.end(),
                                    [&](const TensorView& t) { return t.name == place.name; });
    if (found == tensors.end()) {
      const auto longer = std::find_if(tensors.begin(), tensors.end(), [&](const TensorView& t) {
        return t.name.ends_with("." + place.name);
      });
      throw CheckpointError(fmt::format(
          "{}: tensor '{}' is missing{}; the file is of another model or norm", name, place.name,
          longer == tensors.end() ? "" : fmt::format(", but there is '{}'", longer->name)));
    }
    const bool is_usable =
        beside == Beside::nothing ? found->dtype == "F32" : is_floating(found->dtype);
    if (!is_usable || found->shape != place.shape)
      throw CheckpointError(
          fmt::format("{}: tensor '{}' is {} [{}], but the model needs F32 [{}]", name, place.name,
                      found->dtype, fmt::join(found->shape, ", "), fmt::join(place.shape, ", ")));
    values.push_back(values_in_f32(*found));
    check_values(place.name, values.back(), name);
  }
  look_at_unused(tensors, places, beside, name, notes);
  for (std::size_t i = 0; i < places.size(); ++i)
    std::copy(values[i].begin(), values[i].end(), places[i].values);
  return notes;
}

const std::string& file_of(const std::map<std::string, std::string>& files, const char* name) {
  const auto found = files.find(name);
  if (found == files.end())
    throw CheckpointError(fmt::format("the checkpoint has no {}; it cannot be resumed", name));
  return found->second;
}

}  // namespace

std::map<std::string, std::string> state_to_files(const TrainingState& s, std::int64_t step,
                                                  const std::vector<float>& all_running) {
  std::map<std::string, std::string> files;
  s.memory.parameters.pull();
  s.memory.averaged.pull();
  for (const OptimizerVector& vector : s.optimizer) vector.values.pull();
  std::vector<TensorView> model = views(model_places(s.graph, s.program, s.memory));
  const std::string_view count(reinterpret_cast<const char*>(&step), sizeof step);
  for (const RunningSlot& slot : s.program.running)
    model.push_back(
        {s.graph.layers[static_cast<std::size_t>(slot.layer)].name + std::string(kBatchCount),
         "I64",
         {},
         count});
  files[kModel] = write_safetensors(model);
  files[kOptimizer] = write_safetensors(views(optimizer_places(s)));
  if (s.running.groups() > 1 && s.running.floats() > 0) {
    std::vector<float> all = all_running;
    files[kStatistics] = write_safetensors(views(statistics_places(s, all)));
  }
  return files;
}

void state_from_files(const TrainingState& s, const std::map<std::string, std::string>& files) {
  fill(model_places(s.graph, s.program, s.memory), file_of(files, kModel), kModel, Beside::nothing);
  s.memory.parameters.push();
  s.memory.averaged.push();
  fill(optimizer_places(s), file_of(files, kOptimizer), kOptimizer, Beside::nothing);
  for (const OptimizerVector& vector : s.optimizer) vector.values.push();
  if (s.running.floats() == 0) return;
  std::vector<float> all(static_cast<std::size_t>(s.running.groups()) * s.running.floats());
  if (s.running.groups() > 1) {
    fill(statistics_places(s, all), file_of(files, kStatistics), kStatistics, Beside::nothing);
  } else {
    const auto averaged = s.memory.averaged.host<float>();
    all.assign(averaged.begin(), averaged.begin() + static_cast<long>(s.running.floats()));
  }
  s.running.scatter(all);
}

std::vector<std::string> start_from_file(const Graph& graph, const Program& program, Memory& memory,
                                         const std::string& file, const std::string& name) {
  std::vector<TensorView> tensors = parse_safetensors(file, name);
  std::vector<Place> places = model_places(graph, program, memory);
  std::vector<std::string> wanted;
  for (const Place& place : places) wanted.push_back(place.name);
  strip_prefix(tensors, wanted);
  std::vector<std::string> kept;
  for (const Parameter& parameter : graph.parameters) {
    const auto found = std::find_if(tensors.begin(), tensors.end(),
                                    [&](const TensorView& t) { return t.name == parameter.name; });
    if (parameter.layer != graph.output || found == tensors.end() ||
        found->shape == shape_of(parameter))
      continue;
    kept.push_back(parameter.name);
  }
  const auto is_kept = [&](const std::string& tensor) {
    return std::find(kept.begin(), kept.end(), tensor) != kept.end();
  };
  std::erase_if(places, [&](const Place& place) { return is_kept(place.name); });
  std::vector<std::string> notes = fill(places, file, name, Beside::others, kept);
  if (!kept.empty())
    notes.push_back(fmt::format("{} of another shape there start anew", fmt::join(kept, ", ")));
  memory.parameters.push();
  memory.averaged.push();
  return notes;
}

std::vector<std::string> model_from_file(const Graph& graph, const Program& program, Memory& memory,
                                         const std::string& file, const std::string& name) {
  std::vector<std::string> notes =
      fill(model_places(graph, program, memory), file, name, Beside::others);
  memory.parameters.push();
  memory.averaged.push();
  return notes;
}

}  // namespace syncnorm
