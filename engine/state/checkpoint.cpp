// Writes checkpoint folders atomically, and reads them without trusting their content.
#include "engine/state/checkpoint.h"

#include <zlib.h>

#include <algorithm>
#include <charconv>

#include <fmt/format.h>
#include <nlohmann/json.hpp>

#include "base/error.h"
#include "base/json_values.h"
#include "base/regular_file.h"
#include "engine/state/checkpoint_files.h"

namespace syncnorm {
namespace {

namespace fs = std::filesystem;
using Json = nlohmann::ordered_json;
constexpr int kFormatVersion = 1;
constexpr const char* kManifest = "manifest.json";

[[noreturn]] void fail(const fs::path& path, const std::string& what) {
  throw CheckpointError(fmt::format("{}: {}", path.string(), what));
}

std::string checksum(const std::string& bytes) {
  uLong crc = crc32(0L, Z_NULL, 0);
  // zlib takes 32-bit lengths, so long files are hashed in parts.
  constexpr std::size_t kMost = std::size_t{1} << 30;
  for (std::size_t at = 0; at < bytes.size(); at += kMost)
    crc = crc32(crc, reinterpret_cast<const Bytef*>(bytes.data() + at),
                static_cast<uInt>(std::min(kMost, bytes.size() - at)));
  return fmt::format("{:08x}", crc);
}

std::string read_file(const fs::path& path) {
  if (fs::is_symlink(path)) fail(path, "symbolic links are not followed");
  RegularFile file(path);
  std::string bytes = file.read_text();
  switch (file.trouble()) {
    case FileTrouble::none:
      break;
    case FileTrouble::missing:
      fail(path, "the file is missing");
    case FileTrouble::folder:
    case FileTrouble::not_regular:
      fail(path, "this is not a file");
    case FileTrouble::unreadable:
      throw UnreadableError(fmt::format("{}: {}", path.string(), file.problem()));
  }
  return bytes;
}

Json manifest_of(const Checkpoint& c) {
  Json files = Json::object();
  for (const auto& [name, bytes] : c.files)
    files[name] = {{"bytes", bytes.size()}, {"crc32", checksum(bytes)}};
  Json manifest = {{"format_version", kFormatVersion},
                   {"step", c.step},
                   {"epoch", c.epoch},
                   {"sample_position", c.sample_position},
                   {"last", c.last},
                   {"best_step", c.best_step},
                   {"best_validation_accuracy", c.best_score},
                   {"data_fingerprint", c.data_fingerprint},
                   {"files", files},
                   {"config", c.config}};
  if (!c.data_folder_fingerprint.empty())
    manifest["data_folder_fingerprint"] = c.data_folder_fingerprint;
  if (c.input.known()) manifest["input"] = to_json(c.input);
  return manifest;
}

/// Writes all files and the manifest; returns the number of bytes.
std::int64_t write_files(CheckpointFiles& disk, const fs::path& folder,
                         const Checkpoint& checkpoint) {
  disk.create_folder(folder);
  std::int64_t bytes = 0;
  for (const auto& [file, content] : checkpoint.files) {
    disk.write(folder / file, content);
    bytes += static_cast<std::int64_t>(content.size());
  }
  const std::string manifest = manifest_of(checkpoint).dump(2) + "\n";
  disk.write(folder / kManifest, manifest);
  disk.sync_folder(folder);
  return bytes + static_cast<std::int64_t>(manifest.size());
}

/// Makes `temporary` visible as `target`. An existing folder of this step was written before a
/// resume. It is moved aside first, so that a complete folder exists at every moment.
void replace(CheckpointFiles& disk, const fs::path& temporary, const fs::path& target) {
  std::error_code error;
  const fs::path old = target.parent_path() / fmt::format(".{}.old", target.filename().string());
  fs::remove_all(old, error);
  if (fs::exists(target)) disk.rename(target, old);
  disk.rename(temporary, target);
  disk.sync_folder(target.parent_path());
  fs::remove_all(old, error);
}

/// Returns N of a name step-N; -1 for other names.
std::int64_t step_of(const std::string& name) {
  constexpr std::string_view kPrefix = "step-";
  if (name.rfind(kPrefix, 0) != 0) return -1;
  std::int64_t step = -1;
  const char* end = name.data() + name.size();
  const auto [rest, error] = std::from_chars(name.data() + kPrefix.size(), end, step);
  return error == std::errc() && rest == end ? step : -1;
}

/// Returns true for the name of a file directly in its folder that is not hidden.
bool is_plain_name(const std::string& name) {
  constexpr std::string_view kNot("/\0", 2);
  return !name.empty() && name[0] != '.' && name.find_first_of(kNot) == std::string::npos;
}

}  // namespace

Checkpoint read_checkpoint(const fs::path& folder) {
  if (fs::is_regular_file(folder)) fail(folder, "this is a file; give the checkpoint's folder");
  if (!fs::is_directory(folder)) fail(folder, "there is no such checkpoint folder");
  if (fs::is_directory(folder / "checkpoints"))
    fail(folder, "this is the folder of a run; give one of those in its folder checkpoints");
  const fs::path path = folder / kManifest;
  const std::string text = read_file(path);
  Checkpoint c;
  try {
    const Json manifest = Json::parse(text);
    const std::int64_t version = whole_number(manifest, "format_version", 0);
    if (version != kFormatVersion)
      fail(path,
           fmt::format("format version {} is not {}; use the version of syncnorm that wrote it",
                       version, kFormatVersion));
    c.step = whole_number(manifest, "step", 0);
    c.epoch = whole_number(manifest, "epoch", 0);
    c.sample_position = whole_number(manifest, "sample_position", 0);
    c.last = manifest.at("last").get<bool>();
    c.best_step = whole_number(manifest, "best_step", -1);
    c.best_score = manifest.at("best_validation_accuracy").get<double>();
    c.data_fingerprint = manifest.at("data_fingerprint").get<std::string>();
    c.data_folder_fingerprint = manifest.value("data_folder_fingerprint", "");
    c.config = manifest.at("config").get<std::string>();
    if (manifest.contains("input")) c.input = input_from_json(manifest["input"]);
    for (const auto& [name, entry] : manifest.at("files").items()) {
      if (!is_plain_name(name)) fail(path, fmt::format("file name '{}' leaves the folder", name));
      std::string bytes = read_file(folder / name);
      const std::int64_t size = whole_number(entry, "bytes", 0);
      if (static_cast<std::int64_t>(bytes.size()) != size)
        fail(folder / name,
             fmt::format("{} bytes instead of {}; the file is damaged", bytes.size(), size));
      if (checksum(bytes) != entry.at("crc32").get<std::string>())
        fail(folder / name, fmt::format("checksum {} instead of {}; the file is damaged",
                                        checksum(bytes), entry.at("crc32").get<std::string>()));
      c.files.emplace(name, std::move(bytes));
    }
  } catch (const nlohmann::json::exception& error) {
    fail(path, fmt::format("not a usable manifest ({})", error.what()));
  } catch (const InputError& error) {
    fail(path, fmt::format("not a usable manifest ({})", error.what()));
  }
  return c;
}

std::vector<std::int64_t> CheckpointFolder::steps() const {
  std::vector<std::int64_t> steps;
  std::error_code none;
  for (const auto& entry : fs::directory_iterator(folder_, none))
    if (const std::int64_t step = step_of(entry.path().filename().string()); step >= 0)
      steps.push_back(step);
  std::sort(steps.begin(), steps.end());
  return steps;
}

std::pair<fs::path, std::int64_t> CheckpointFolder::save(const Checkpoint& checkpoint) {
  std::error_code error;
  fs::create_directories(folder_, error);
  if (error) fail(folder_, fmt::format("cannot create the folder: {}", error.message()));
  const std::string name = fmt::format("step-{}", checkpoint.step);
  const fs::path temporary = folder_ / fmt::format(".{}.tmp", name);
  const fs::path target = folder_ / name;
  CheckpointFiles disk(faults_, checkpoint.step);
  std::int64_t bytes = 0;
  try {
    disk.remove_all(temporary);
    bytes = write_files(disk, temporary, checkpoint);
    replace(disk, temporary, target);
  } catch (...) {
    fs::remove_all(temporary, error);  // frees space in case the disk is full
    throw;
  }
  prune(checkpoint.best_step);
  return {target, bytes};
}

void CheckpointFolder::clean() const {
  std::error_code error;
  std::vector<fs::path> hidden;
  for (const auto& entry : fs::directory_iterator(folder_, error))
    if (entry.path().filename().string().starts_with(".step-")) hidden.push_back(entry.path());
  for (const fs::path& path : hidden) {
    const fs::path target = folder_ / path.stem().string().substr(1);
    if (path.extension() == ".old" && !fs::exists(target))
      fs::rename(path, target, error);
    else
      fs::remove_all(path, error);
  }
}

void CheckpointFolder::prune(std::int64_t best_step) const {
  const std::vector<std::int64_t> all = steps();
  const std::size_t keep = static_cast<std::size_t>(keep_);
  for (std::size_t i = 0; i + keep < all.size(); ++i) {
    if (all[i] == 0 || all[i] == best_step) continue;
    const fs::path folder = folder_ / fmt::format("step-{}", all[i]);
    std::error_code error;
    try {
      if (Json::parse(read_file(folder / kManifest)).value("last", false)) continue;
    } catch (const UnreadableError&) {
      continue;  // it may be valuable
    } catch (const std::exception&) {
      // Damaged: useless, so it is removed like any old one.
    }
    fs::remove_all(folder, error);
  }
}

fs::path CheckpointFolder::newest_valid(std::vector<std::string>& passed_over) const {
  std::vector<std::int64_t> all = steps();
  std::reverse(all.begin(), all.end());
  for (const std::int64_t step : all) {
    const fs::path folder = folder_ / fmt::format("step-{}", step);
    try {
      read_checkpoint(folder);
      return folder;
    } catch (const UnreadableError& error) {
      throw UnreadableError(std::string(error.what()) +
                            "; mend that, or name an older checkpoint with --resume FOLDER");
    } catch (const CheckpointError& error) {
      passed_over.emplace_back(error.what());
    }
  }
  return {};
}

}  // namespace syncnorm
