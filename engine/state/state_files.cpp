// Converts training state to and from files. Names and shapes are checked against the model before
// anything is copied.
#include "engine/state/state_files.h"

#include <algorithm>
#include <set>

#include <fmt/format.h>
#include <fmt/ranges.h>

#include "base/error.h"
#include "engine/state/norm_change.h"
#include "engine/state/safetensors.h"
#include "engine/state/weights_file.h"

namespace syncnorm {
namespace {

constexpr const char* kModel = "model.safetensors";
constexpr const char* kOptimizer = "optimizer.safetensors";
constexpr const char* kStatistics = "statistics.safetensors";
constexpr const char* kHistory = "history.safetensors";
constexpr const char* kAverage = "ema.safetensors";
constexpr const char* kAverageStatistics = "ema_statistics.safetensors";

std::string_view bytes_of(const float* values, std::size_t count) {
  return {reinterpret_cast<const char*>(values), count * sizeof(float)};
}

std::vector<std::int64_t> shape_of(const Parameter& parameter) {
  return {parameter.shape.begin(), parameter.shape.end()};
}

/// A tensor that a file must contain, and the address of its values in memory.
struct NamedTensor {
  std::string name;
  std::vector<std::int64_t> shape;
  float* values = nullptr;
  std::size_t count = 0;
  bool optional = false;  // weights of another norm or program do not have it
};

std::vector<NamedTensor> parameter_tensors(const Graph& graph, const Program& program, float* flat,
                                           const std::string& prefix) {
  std::vector<NamedTensor> named;
  for (std::size_t p = 0; p < graph.parameters.size(); ++p)
    named.push_back({prefix + graph.parameters[p].name, shape_of(graph.parameters[p]),
                     flat + program.parameter_offset[p], graph.parameters[p].count()});
  return named;
}

std::vector<NamedTensor> running_tensors(const Graph& graph, const Program& program, float* set,
                                         const std::string& prefix) {
  std::vector<NamedTensor> named;
  for (const RunningSlot& slot : program.running) {
    const std::string layer = prefix + graph.layers[static_cast<std::size_t>(slot.layer)].name;
    const auto count = static_cast<std::size_t>(slot.channels);
    named.push_back({layer + ".running_mean", {slot.channels}, set + slot.mean, count});
    named.push_back({layer + ".running_var", {slot.channels}, set + slot.variance, count});
    for (const KeptValues& kept : slot.kept)
      named.push_back({layer + kept.suffix, kept.shape, set + kept.offset, kept.count(), true});
  }
  return named;
}

std::vector<NamedTensor> model_tensors(const Graph& graph, const Program& program, Memory& memory) {
  std::vector<NamedTensor> named =
      parameter_tensors(graph, program, memory.parameters.host<float>().data(), "");
  for (NamedTensor& one : running_tensors(graph, program, memory.averaged.host<float>().data(), ""))
    named.push_back(std::move(one));
  return named;
}

std::vector<NamedTensor> optimizer_tensors(const TrainingState& s) {
  std::vector<NamedTensor> named;
  for (const OptimizerVector& vector : s.optimizer)
    for (NamedTensor& one : parameter_tensors(
             s.graph, s.program, vector.values.host<float>().data(), vector.name + "."))
      named.push_back(std::move(one));
  return named;
}

std::vector<NamedTensor> statistics_tensors(const TrainingState& s, std::vector<float>& all) {
  std::vector<NamedTensor> named;
  for (int g = 0; g < s.running.groups(); ++g)
    for (NamedTensor& one : running_tensors(
             s.graph, s.program, all.data() + static_cast<std::size_t>(g) * s.running.floats(),
             fmt::format("group{}.", g)))
      named.push_back(std::move(one));
  return named;
}

std::vector<NamedTensor> history_tensors(const TrainingState& s, std::vector<float>& all) {
  std::vector<NamedTensor> named;
  for (int g = 0; g < s.running.groups(); ++g)
    for (const RunningSlot& slot : s.program.running)
      for (const KeptValues& kept : slot.history)
        named.push_back(
            {fmt::format("group{}.{}{}", g,
                         s.graph.layers[static_cast<std::size_t>(slot.layer)].name, kept.suffix),
             kept.shape,
             all.data() + static_cast<std::size_t>(g) * s.running.history_floats() + kept.offset,
             kept.count()});
  return named;
}

std::vector<TensorView> views(const std::vector<NamedTensor>& named) {
  std::vector<TensorView> tensors;
  for (const NamedTensor& p : named)
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
void look_at_unused(const std::vector<TensorView>& tensors, const std::vector<NamedTensor>& named,
                    Beside beside, const std::string& name, std::vector<std::string>& notes) {
  std::set<std::string> wanted, layers;
  for (const NamedTensor& one : named) {
    wanted.insert(one.name);
    layers.insert(layer_of(one.name));
  }
  std::vector<std::string> unused;
  for (const TensorView& tensor : tensors) {
    if (wanted.contains(tensor.name)) continue;
    if (beside == Beside::nothing || layers.contains(layer_of(tensor.name)))
      throw CheckpointError(fmt::format(
          "{}: tensor '{}' is not part of the model; the file is of another model or norm", name,
          tensor.name));
    unused.push_back(tensor.name);
  }
  constexpr std::size_t kNamed = 5;
  if (unused.empty()) return;
  const std::size_t listed = std::min(kNamed, unused.size());
  notes.push_back(fmt::format(
      "ignored {} tensor{} that the model does not have: {}{}", unused.size(),
      unused.size() == 1 ? "" : "s",
      fmt::join(unused.begin(), unused.begin() + static_cast<std::ptrdiff_t>(listed), ", "),
      unused.size() > listed ? ", ..." : ""));
}

std::vector<std::string> names_of(const std::vector<NamedTensor>& named) {
  std::vector<std::string> names;
  for (const NamedTensor& one : named) names.push_back(one.name);
  return names;
}

/// Copies `tensors` to `named`. Skips PyTorch's batch counters and the tensors in `unread`. Returns
/// notes for the user.
std::vector<std::string> fill_from(std::vector<TensorView> tensors,
                                   const std::vector<NamedTensor>& named, const std::string& name,
                                   Beside beside, const std::vector<std::string>& unread) {
  std::vector<std::string> notes;
  // The moving pair of momentum batch norm matters to its own training only.
  const auto is_wanted = [&](const std::string& tensor) {
    return std::any_of(named.begin(), named.end(),
                       [&](const NamedTensor& one) { return one.name == tensor; });
  };
  if (beside == Beside::others)
    std::erase_if(tensors, [&](const TensorView& t) {
      return (t.name.ends_with(".moving_mean") || t.name.ends_with(".moving_var")) &&
             !is_wanted(t.name);
    });
  std::erase_if(tensors, [&](const TensorView& t) {
    return (t.name.size() > kBatchCount.size() && t.name.ends_with(kBatchCount)) ||
           std::find(unread.begin(), unread.end(), t.name) != unread.end();
  });
  std::vector<std::vector<float>> values;
  for (const NamedTensor& one : named) {
    const auto found = std::find_if(tensors.begin(), tensors.end(),
                                    [&](const TensorView& t) { return t.name == one.name; });
    if (found == tensors.end() && one.optional && beside == Beside::others) {
      values.emplace_back();
      continue;
    }
    if (found == tensors.end()) {
      const auto longer = std::find_if(tensors.begin(), tensors.end(), [&](const TensorView& t) {
        return t.name.ends_with("." + one.name);
      });
      throw CheckpointError(fmt::format(
          "{}: tensor '{}' is missing{}; the file is of another model or norm", name, one.name,
          longer == tensors.end() ? "" : fmt::format(", but there is '{}'", longer->name)));
    }
    const bool is_usable =
        beside == Beside::nothing ? found->dtype == "F32" : is_floating(found->dtype);
    if (!is_usable || found->shape != one.shape)
      throw CheckpointError(fmt::format("{}: tensor '{}' is {} [{}], but the model needs F32 [{}]",
                                        name, one.name, found->dtype, fmt::join(found->shape, ", "),
                                        fmt::join(one.shape, ", ")));
    values.push_back(values_in_f32(*found));
    check_values(one.name, values.back(), name);
  }
  look_at_unused(tensors, named, beside, name, notes);
  for (std::size_t i = 0; i < named.size(); ++i)
    std::copy(values[i].begin(), values[i].end(), named[i].values);
  return notes;
}

/// Does the same for the tensors of `file`, from whose names it strips a prefix that all have.
std::vector<std::string> fill(const std::vector<NamedTensor>& named, const std::string& file,
                              const std::string& name, Beside beside) {
  std::vector<std::string> notes;
  std::vector<TensorView> tensors = parse_safetensors(file, name);
  if (beside == Beside::others)
    if (const std::string prefix = strip_prefix(tensors, names_of(named)); !prefix.empty())
      notes.push_back(fmt::format("all names there begin with '{}', which is left out", prefix));
  const std::vector<std::string> more = fill_from(std::move(tensors), named, name, beside, {});
  notes.insert(notes.end(), more.begin(), more.end());
  return notes;
}

const std::string& file_of(const std::map<std::string, std::string>& files, const char* name) {
  const auto found = files.find(name);
  if (found == files.end())
    throw CheckpointError(fmt::format("the checkpoint has no {}; it cannot be resumed", name));
  return found->second;
}

}  // namespace

namespace {

/// Returns the parameters and averaged running statistics in memory as a file, with PyTorch's count
/// of batches.
std::string model_file(const TrainingState& s, std::int64_t step) {
  s.memory.parameters.pull();
  s.memory.averaged.pull();
  std::vector<TensorView> model = views(model_tensors(s.graph, s.program, s.memory));
  const std::string_view count(reinterpret_cast<const char*>(&step), sizeof step);
  for (const RunningSlot& slot : s.program.running)
    model.push_back(
        {s.graph.layers[static_cast<std::size_t>(slot.layer)].name + std::string(kBatchCount),
         "I64",
         {},
         count});
  return write_safetensors(model);
}

/// Adds the running pairs of all groups, if there are several.
void add_statistics(const TrainingState& s, const std::vector<float>& all_running, const char* name,
                    std::map<std::string, std::string>& files) {
  if (s.running.groups() == 1 || s.running.floats() == 0) return;
  std::vector<float> all = all_running;
  files[name] = write_safetensors(views(statistics_tensors(s, all)));
}

/// Restores parameters, and with `running` the running pairs of all groups.
void restore_model(const TrainingState& s, const std::map<std::string, std::string>& files,
                   const char* model, const char* statistics, bool running) {
  fill(model_tensors(s.graph, s.program, s.memory), file_of(files, model), model, Beside::nothing);
  s.memory.parameters.push();
  s.memory.averaged.push();
  if (!running || s.running.floats() == 0) return;
  std::vector<float> all(static_cast<std::size_t>(s.running.groups()) * s.running.floats());
  if (s.running.groups() > 1) {
    fill(statistics_tensors(s, all), file_of(files, statistics), statistics, Beside::nothing);
  } else {
    const auto averaged = s.memory.averaged.host<float>();
    all.assign(averaged.begin(), averaged.begin() + static_cast<long>(s.running.floats()));
  }
  s.running.scatter(all);
}

}  // namespace

std::map<std::string, std::string> state_to_files(const TrainingState& s, std::int64_t step,
                                                  const std::vector<float>& all_running,
                                                  const std::vector<float>& history) {
  std::map<std::string, std::string> files;
  for (const OptimizerVector& vector : s.optimizer) vector.values.pull();
  files[kModel] = model_file(s, step);
  files[kOptimizer] = write_safetensors(views(optimizer_tensors(s)));
  add_statistics(s, all_running, kStatistics, files);
  std::vector<float> all = history;
  if (!all.empty()) files[kHistory] = write_safetensors(views(history_tensors(s, all)));
  return files;
}

void add_average(const TrainingState& s, std::int64_t step, const std::vector<float>& all_running,
                 std::map<std::string, std::string>& files) {
  files[kAverage] = model_file(s, step);
  if (!all_running.empty()) add_statistics(s, all_running, kAverageStatistics, files);
}

bool average_from_files(const TrainingState& s, bool has_running,
                        const std::map<std::string, std::string>& files) {
  if (!files.contains(kAverage)) return false;
  // Without the pairs of all groups, the average was made with other ema.statistics.
  if (has_running && s.running.groups() > 1 && !files.contains(kAverageStatistics)) return false;
  restore_model(s, files, kAverage, kAverageStatistics, has_running);
  return true;
}

void state_from_files(const TrainingState& s, const std::map<std::string, std::string>& files) {
  fill(optimizer_tensors(s), file_of(files, kOptimizer), kOptimizer, Beside::nothing);
  for (const OptimizerVector& vector : s.optimizer) vector.values.push();
  restore_model(s, files, kModel, kStatistics, true);
  if (s.running.history_floats() == 0) return;
  std::vector<float> history(static_cast<std::size_t>(s.running.groups()) *
                             s.running.history_floats());
  fill(history_tensors(s, history), file_of(files, kHistory), kHistory, Beside::nothing);
  s.running.scatter_history(history);
}

std::vector<std::string> start_from_file(const Graph& graph, const Program& program, Memory& memory,
                                         const std::string& file, const std::string& name) {
  std::vector<TensorView> tensors = parse_safetensors(file, name);
  std::vector<NamedTensor> named = model_tensors(graph, program, memory);
  const std::vector<std::string> wanted = names_of(named);
  std::vector<std::string> notes;
  if (const std::string prefix = strip_prefix(tensors, wanted); !prefix.empty())
    notes.push_back(fmt::format("all names there begin with '{}', which is left out", prefix));
  const std::string encoder = add_encoder_prefix(tensors, wanted);
  const auto is_there = [&](const std::string& tensor) {
    return std::any_of(tensors.begin(), tensors.end(),
                       [&](const TensorView& t) { return t.name == tensor; });
  };
  // Layers behind the encoder of a classifier begin anew.
  const auto is_behind = [&](const std::string& tensor) {
    return !encoder.empty() && !tensor.starts_with(encoder) && !is_there(tensor);
  };
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
  const NormChange change = norm_change(graph, wanted, tensors, name);
  const auto begins_anew = [&](const std::string& tensor) {
    return std::find(change.anew.begin(), change.anew.end(), tensor) != change.anew.end();
  };
  const auto behind = std::count_if(wanted.begin(), wanted.end(), is_behind);
  std::erase_if(named, [&](const NamedTensor& one) {
    return is_kept(one.name) || begins_anew(one.name) || is_behind(one.name);
  });
  std::vector<std::string> unread = kept;
  unread.insert(unread.end(), change.left_out.begin(), change.left_out.end());
  const std::vector<std::string> more =
      fill_from(std::move(tensors), named, name, Beside::others, unread);
  notes.insert(notes.end(), more.begin(), more.end());
  notes.insert(notes.end(), change.notes.begin(), change.notes.end());
  if (!encoder.empty())
    notes.push_back(fmt::format(
        "the file is of a classifier, whose layers are those of '{}' here; {} tensors of the other "
        "layers start anew",
        encoder, behind));
  if (!kept.empty())
    notes.push_back(fmt::format("{} of another shape there start anew", fmt::join(kept, ", ")));
  memory.parameters.push();
  memory.averaged.push();
  return notes;
}

std::vector<std::string> model_from_file(const Graph& graph, const Program& program, Memory& memory,
                                         const std::string& file, const std::string& name) {
  std::vector<std::string> notes =
      fill(model_tensors(graph, program, memory), file, name, Beside::others);
  memory.parameters.push();
  memory.averaged.push();
  return notes;
}

}  // namespace syncnorm
