// Chooses and checks a checkpoint on rank 0, and sends it to all ranks.
#include "engine/state/resume.h"

#include <filesystem>
#include <iostream>
#include <map>

#include <fmt/format.h>
#include <nlohmann/json.hpp>

#include "base/error.h"
#include "base/printable.h"
#include "comm/agreement.h"

namespace syncnorm {
namespace {

namespace fs = std::filesystem;

/// Returns true for schedules, of the learning rate or of momentum batch norm, that depend on the
/// length of the run, which must not change on resume.
bool length_matters(const Experiment& experiment) {
  const NormConfig& norm = experiment.norm;
  return experiment.schedule.kind == ScheduleKind::cosine ||
         experiment.schedule.kind == ScheduleKind::polynomial ||
         (norm.kind == NormKind::momentum && norm.momentum_ramp == 0);
}

/// Returns true for a folder and a pack; fingerprints then tell whether they hold the same data.
bool are_folder_and_pack(const std::string& before, const std::string& now) {
  const auto is_folder = [](const std::string& name) {
    return name == "image_folder" || name == "segmentation_folder";
  };
  return (is_folder(before) && now == "packed") || (before == "packed" && is_folder(now));
}

/// Returns true for the same data set; a folder and a pack of it are the same.
bool same_data(const Checkpoint& checkpoint, const Dataset& dataset) {
  const auto same = [](const std::string& a, const std::string& b) { return !a.empty() && a == b; };
  return checkpoint.data_fingerprint == dataset.fingerprint ||
         same(checkpoint.data_fingerprint, dataset.folder_fingerprint) ||
         same(checkpoint.data_folder_fingerprint, dataset.fingerprint);
}

/// Returns the device on which the checkpoint was made.
DeviceKind check_config(const Checkpoint& checkpoint, const LoadedExperiment& loaded,
                        const std::string& folder) {
  LoadedExperiment saved;
  try {
    saved = parse_experiment_text(checkpoint.config, folder + "/manifest.json config");
  } catch (const InputError& error) {
    throw CheckpointError(
        fmt::format("{}: its configuration cannot be read: {}", folder, error.what()));
  }
  std::map<std::string, std::string> before;
  for (const ResolvedValue& value : saved.values) before[value.path] = value.value;
  for (const ResolvedValue& value : loaded.values) {
    const bool length = value.path == "epochs" || value.path == "steps";
    if (value.free_on_resume && !(length && length_matters(loaded.experiment))) continue;
    const auto found = before.find(value.path);
    const std::string old = found == before.end() ? "absent" : found->second;
    if (value.path == "data.dataset" && are_folder_and_pack(old, value.value)) continue;
    if (old != value.value)
      throw CheckpointError(fmt::format(
          "{}: was trained with {}: {}, but now it is {}; set it back, or start a new run "
          "in another run_dir",
          folder, value.path, old, value.value));
  }
  return saved.experiment.device;
}

/// Reads a checkpoint that the user chose; an error suggests choosing another.
Checkpoint read_named(const fs::path& folder) {
  try {
    return read_checkpoint(folder);
  } catch (const CheckpointError& error) {
    throw CheckpointError(fmt::format(
        "{}; give another checkpoint, or --resume auto for the newest usable one", error.what()));
  }
}

std::string pack(const ResumePoint& point) {
  const Checkpoint& c = point.checkpoint;
  nlohmann::json json = {{"folder", point.folder},   {"device", point.device},
                         {"step", c.step},           {"epoch", c.epoch},
                         {"best_step", c.best_step}, {"best_accuracy", c.best_score}};
  json["files"] = nlohmann::json::object();
  for (const auto& [name, bytes] : c.files) {
    std::vector<std::uint8_t> data(bytes.begin(), bytes.end());
    json["files"][name] = nlohmann::json::binary(std::move(data));
  }
  const std::vector<std::uint8_t> packed = nlohmann::json::to_cbor(json);
  return {packed.begin(), packed.end()};
}

ResumePoint unpack(const std::string& text) {
  const nlohmann::json json = nlohmann::json::from_cbor(text.begin(), text.end());
  ResumePoint point;
  point.folder = json["folder"].get<std::string>();
  point.device = json["device"].get<DeviceKind>();
  point.checkpoint.step = json["step"].get<std::int64_t>();
  point.checkpoint.epoch = json["epoch"].get<std::int64_t>();
  point.checkpoint.best_step = json["best_step"].get<std::int64_t>();
  point.checkpoint.best_score = json["best_accuracy"].get<double>();
  for (const auto& [name, bytes] : json["files"].items()) {
    const auto& data = bytes.get_binary();
    point.checkpoint.files.emplace(name, std::string(data.begin(), data.end()));
  }
  return point;
}

}  // namespace

std::optional<ResumePoint> find_resume_point(Communicator& comm, const LoadedExperiment& loaded,
                                             const Dataset& dataset, const std::string& resume,
                                             const CheckpointFolder& checkpoints) {
  std::string packed;
  agree(comm, [&] {
    if (comm.rank() != 0) return;
    const fs::path run_dir = loaded.experiment.run_dir;
    if (resume.empty()) {
      if (fs::exists(run_dir / "metrics.jsonl") || !checkpoints.steps().empty())
        throw InputError(
            fmt::format("{}: the run folder is in use; go on with --resume auto, or choose another "
                        "run_dir",
                        run_dir.string()));
      return;
    }
    fs::path folder = resume;
    if (resume == "auto") {
      std::vector<std::string> passed_over;
      folder = checkpoints.newest_valid(passed_over);
      for (const std::string& reason : passed_over)
        std::cerr << "syncnorm: passed over a checkpoint: " << printable(reason) << "\n";
      if (folder.empty() && !passed_over.empty())
        throw CheckpointError(
            fmt::format("{}: none of its checkpoints is usable; move the run folder away to start "
                        "anew, or give an older one with --resume DIR",
                        (run_dir / "checkpoints").string()));
      if (folder.empty()) return;
    }
    ResumePoint point{resume == "auto" ? read_checkpoint(folder) : read_named(folder),
                      folder.string()};
    point.device = check_config(point.checkpoint, loaded, point.folder);
    if (!same_data(point.checkpoint, dataset))
      throw CheckpointError(
          fmt::format("{}: was trained on other data (fingerprint {}, now {}); put the data back, "
                      "or start a new run in another run_dir{}",
                      point.folder, point.checkpoint.data_fingerprint, dataset.fingerprint,
                      dataset.name == "packed" && dataset.folder_fingerprint.empty()
                          ? " (a pack made by an earlier version does not say of which folder)"
                          : ""));
    packed = pack(point);
  });
  packed = from_rank_0(comm, packed);
  if (packed.empty()) return std::nullopt;
  return unpack(packed);
}

}  // namespace syncnorm
