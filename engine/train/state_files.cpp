// Names and shapes are checked against the model before anything is copied.
#include "engine/train/state_files.h"

#include <algorithm>
#include <cstring>
#include <deque>
#include <filesystem>
#include <fstream>

#include <fmt/format.h>
#include <fmt/ranges.h>

#include "engine/train/checkpoint.h"
#include "engine/train/safetensors.h"
#include "kernels/error.h"

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

/// One tensor that a file must hold, and where its values live.
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
  for (const auto& [kind, flat] : s.optimizer.state())
    for (Place& place : parameter_places(s.graph, s.program, flat.data(), kind + "."))
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

/// Copies the tensors of `file` to their places. PyTorch's batch counters are read past, and so is
/// what `unread` names.
void fill(const std::vector<Place>& places, const std::string& file, const std::string& name,
          const std::vector<std::string>& unread = {}) {
  std::vector<TensorView> tensors = parse_safetensors(file, name);
  std::erase_if(tensors, [&](const TensorView& t) {
    return (t.name.size() > kBatchCount.size() && t.name.ends_with(kBatchCount)) ||
           std::find(unread.begin(), unread.end(), t.name) != unread.end();
  });
  const auto find = [&](const std::string& tensor) {
    return std::find_if(tensors.begin(), tensors.end(),
                        [&](const TensorView& t) { return t.name == tensor; });
  };
  for (const Place& place : places) {
    const auto found = find(place.name);
    if (found == tensors.end())
      throw CheckpointError(fmt::format(
          "{}: tensor '{}' is missing; the file is of another model or norm", name, place.name));
    if (found->dtype != "F32" || found->shape != place.shape)
      throw CheckpointError(
          fmt::format("{}: tensor '{}' is {} [{}], but the model needs F32 [{}]", name, place.name,
                      found->dtype, fmt::join(found->shape, ", "), fmt::join(place.shape, ", ")));
  }
  if (tensors.size() != places.size())
    for (const TensorView& tensor : tensors)
      if (std::none_of(places.begin(), places.end(),
                       [&](const Place& p) { return p.name == tensor.name; }))
        throw CheckpointError(fmt::format(
            "{}: tensor '{}' has no place in the model; the file is of another model or "
            "norm",
            name, tensor.name));
  for (const Place& place : places)
    std::memcpy(place.values, find(place.name)->bytes.data(), place.count * sizeof(float));
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
  s.optimizer.pull();
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
  model_from_file(s.graph, s.program, s.memory, file_of(files, kModel), kModel);
  fill(optimizer_places(s), file_of(files, kOptimizer), kOptimizer);
  s.optimizer.push();
  if (s.running.floats() == 0) return;
  std::vector<float> all(static_cast<std::size_t>(s.running.groups()) * s.running.floats());
  if (s.running.groups() > 1) {
    fill(statistics_places(s, all), file_of(files, kStatistics), kStatistics);
  } else {
    const auto averaged = s.memory.averaged.host<float>();
    all.assign(averaged.begin(), averaged.begin() + static_cast<long>(s.running.floats()));
  }
  s.running.scatter(all);
}

std::vector<std::string> start_from_file(const Graph& graph, const Program& program, Memory& memory,
                                         const std::string& file, const std::string& name) {
  const std::vector<TensorView> tensors = parse_safetensors(file, name);
  std::vector<std::string> kept;
  for (const Parameter& parameter : graph.parameters) {
    const auto found = std::find_if(tensors.begin(), tensors.end(),
                                    [&](const TensorView& t) { return t.name == parameter.name; });
    if (parameter.layer == graph.output && found != tensors.end() &&
        found->shape != shape_of(parameter))
      kept.push_back(parameter.name);
  }
  std::vector<Place> places = model_places(graph, program, memory);
  const auto is_kept = [&](const std::string& tensor) {
    return std::find(kept.begin(), kept.end(), tensor) != kept.end();
  };
  std::erase_if(places, [&](const Place& place) { return is_kept(place.name); });
  fill(places, file, name, kept);
  memory.parameters.push();
  memory.averaged.push();
  return kept;
}

namespace {

/// PyTorch's own files: a zip archive with a pickle inside, or a bare pickle. What begins like one
/// by chance is a safetensors file when the length of its header fits.
bool is_pickle(const std::string& bytes) {
  std::uint64_t header = 0;
  if (bytes.size() >= sizeof header) std::memcpy(&header, bytes.data(), sizeof header);
  if (bytes.size() >= sizeof header && header <= bytes.size() - sizeof header) return false;
  const bool bare = bytes.size() > 1 && bytes[0] == '\x80' && bytes[1] >= 2 && bytes[1] <= 5;
  return bare || bytes.starts_with("PK\x03\x04");
}

}  // namespace

std::string read_weights(const std::string& path) {
  if (std::filesystem::is_directory(path)) {
    try {
      const Checkpoint checkpoint = read_checkpoint(path);
      const auto model = checkpoint.files.find(kModel);
      if (model == checkpoint.files.end())
        throw CheckpointError(fmt::format("{}: the checkpoint has no {}", path, kModel));
      return model->second;
    } catch (const CheckpointError& error) {
      throw CheckpointError(std::string(error.what()) +
                            "; give another checkpoint or a .safetensors file");
    }
  }
  std::ifstream in(path, std::ios::binary);
  if (!in || !std::filesystem::is_regular_file(path))
    throw CheckpointError(path +
                          ": cannot be read; give a checkpoint folder or a .safetensors file");
  std::string bytes((std::istreambuf_iterator<char>(in)), {});
  if (is_pickle(bytes))
    throw CheckpointError(path +
                          ": this is a pickle, which can run code when it is read, and is not; "
                          "in Python, write the weights with safetensors.torch.save_file");
  return bytes;
}

void model_from_file(const Graph& graph, const Program& program, Memory& memory,
                     const std::string& file, const std::string& name) {
  fill(model_places(graph, program, memory), file, name);
  memory.parameters.push();
  memory.averaged.push();
}

}  // namespace syncnorm
