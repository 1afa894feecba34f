// See study_data.h.
#include "monitoring/report/study_data.h"

#include <algorithm>
#include <cmath>
#include <regex>

#include <fmt/format.h>

#include "base/error.h"
#include "base/json_values.h"
#include "base/regular_file.h"
#include "engine/study/variants.h"

namespace syncnorm::report {
namespace {

namespace fs = std::filesystem;
using Json = nlohmann::ordered_json;

void append(std::string& text, const std::string& more) {
  text += (text.empty() ? "" : ", ") + more;
}

/// Formats a norm: "bn" unchanged; {kind: batch, synced_replicas: 2} as "batch, synced_replicas=2".
std::string norm_text(std::string text) {
  if (!text.starts_with("{") || !text.ends_with("}")) return text;
  text = std::regex_replace(text.substr(1, text.size() - 2), std::regex(R"(\bkind: )"), "");
  return std::regex_replace(text, std::regex(": "), "=");
}

/// Names a setting: "bn" for the norm, "optimizer.lr=0.1" for any other key.
Setting named_setting(const StudySettings& settings) {
  Setting setting;
  for (const auto& [path, text] : settings) {
    if (path == "batch_per_replica") {
      setting.batch = text;
    } else {
      append(setting.line, path == "norm" ? norm_text(text) : path + "=" + text);
    }
  }
  if (setting.line.empty() && setting.batch.empty()) setting.line = "all runs";
  setting.label = setting.line;
  if (!setting.batch.empty()) append(setting.label, "batch_per_replica=" + setting.batch);
  return setting;
}

StudyData read_described(const fs::path& folder, const Json& description) {
  StudyData study;
  study.is_study = true;
  study.name = description.at("name").get<std::string>();
  study.target_accuracy = description.value("target_accuracy", 0.0);
  std::vector<RunData> runs;
  std::vector<StudyOutcome> outcomes;
  for (const auto& run : description.at("runs")) {
    const auto name = run.at("folder").get<std::string>();
    if (name.find('/') != std::string::npos || name.starts_with("."))
      throw InputError(fmt::format("{}: the run '{}' leaves the folder; give one folder's name",
                                   (folder / "study.json").string(), name));
    runs.push_back(read_run(folder / name));
    StudySettings settings;
    for (const auto& [path, value] : run.at("settings").items())
      settings.emplace_back(path, value.get<std::string>());
    outcomes.push_back(
        {settings, runs.back().status, runs.back().score("test"), runs.back().score("validation")});
  }
  const std::vector<Variant> variants =
      make_variants(outcomes, description.value("best_of", std::vector<std::string>()));
  for (const Variant& variant : variants) {
    Setting setting = named_setting(variant.settings);
    setting.chosen = settings_text(variant.chosen);
    setting.difference = difference_text(variant);
    if (variant.difference)
      setting.reference =
          named_setting(variants[static_cast<std::size_t>(variant.reference)].settings).label;
    for (const std::size_t run : variant.runs) setting.runs.push_back(std::move(runs[run]));
    study.settings.push_back(std::move(setting));
  }
  return study;
}

/// Reads the run folders below `folder`, by name; does not search inside a run folder.
StudyData read_runs(const fs::path& folder) {
  StudyData study;
  study.is_study = true;
  study.name = folder.filename().string();
  std::vector<fs::path> found;
  for (fs::recursive_directory_iterator at(folder), end; at != end; ++at) {
    if (!at->is_directory() || !is_run_folder(at->path())) continue;
    found.push_back(at->path());
    at.disable_recursion_pending();
  }
  std::sort(found.begin(), found.end());
  for (const fs::path& path : found) {
    const std::string label = path.lexically_relative(folder).generic_string();
    study.settings.push_back({label, label, "", {read_run(path)}, "", "", ""});
  }
  return study;
}

}  // namespace

Metric StudyData::metric() const {
  for (const Setting& setting : settings)
    for (const RunData& run : setting.runs)
      if (!run.start.empty()) return run.metric();
  return kAccuracyMetric;
}

StudyData read_study(const fs::path& given) {
  const fs::path folder = fs::absolute(given / ".").lexically_normal().parent_path();
  StudyData study;
  if (is_run_folder(folder)) {
    study.settings.push_back({"", "", "", {read_run(folder)}, "", "", ""});
    study.name = text_of(study.first_run().start, "name", folder.filename().string());
    return study;
  }
  const auto described =
      read_text_file_if_there(folder / "study.json", "run the study again to write it anew");
  if (described) {
    try {
      study = read_described(folder, Json::parse(*described));
    } catch (const Json::exception& error) {
      throw InputError(fmt::format("{}: cannot be read ({}); run the study again to write it anew",
                                   (folder / "study.json").string(), error.what()));
    }
  } else if (fs::is_directory(folder)) {
    study = read_runs(folder);
  }
  if (study.settings.empty())
    throw InputError(
        fmt::format("{}: holds neither a run (metrics.jsonl) nor a study; give the "
                    "folder of one",
                    given.string()));
  return study;
}

Spread spread_of(const std::vector<double>& values) {
  if (values.empty()) return {std::nan(""), 0.0, std::nan(""), std::nan(""), 0};
  Spread s{0.0, 0.0, values[0], values[0], values.size()};
  const auto count = static_cast<double>(values.size());
  for (const double v : values) {
    s.mean += v / count;
    s.low = std::min(s.low, v);
    s.high = std::max(s.high, v);
  }
  double squares = 0.0;
  for (const double v : values) squares += (v - s.mean) * (v - s.mean);
  if (values.size() > 1) s.deviation = std::sqrt(squares / (count - 1.0));
  return s;
}

}  // namespace syncnorm::report
