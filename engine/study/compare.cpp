// See compare.h. A run's folder is its only memory: config.yaml says what it is, summary.json how
// it ended.
#include "engine/study/compare.h"

#include <algorithm>
#include <cmath>
#include <filesystem>
#include <fstream>
#include <sstream>

#include <fmt/format.h>
#include <nlohmann/json.hpp>

#include "comm/json_values.h"
#include "engine/train/agreement.h"
#include "kernels/error.h"

namespace syncnorm {
namespace {

namespace fs = std::filesystem;

std::string read_text(const fs::path& path) {
  std::ifstream in(path, std::ios::binary);
  std::ostringstream text;
  text << in.rdbuf();
  return text.str();
}

nlohmann::json summary_of(const StudyRun& run) {
  const fs::path path = fs::path(run.loaded.experiment.run_dir) / "summary.json";
  nlohmann::json summary = nlohmann::json::parse(read_text(path), nullptr, false);
  return summary.is_object() ? summary : nlohmann::json::object();
}

/// "done": nothing to do; "auto": it was begun; "": fresh. Refuses a folder of another
/// configuration.
std::string state_of(const StudyRun& run) {
  const fs::path folder = run.loaded.experiment.run_dir;
  if (!fs::exists(folder / "config.yaml")) return "";
  if (read_text(folder / "config.yaml") != run.loaded.yaml)
    throw InputError(
        fmt::format("{}: holds a run with other settings; remove it, or choose another run_dir",
                    folder.string()));
  const std::string status = text_of(summary_of(run), "status");
  return status == "done" || status == "diverged" ? "done" : "auto";
}

std::string setting_text(const StudyRun& run) {
  std::string text;
  for (const auto& [path, value] : run.settings)
    if (path != "seed") text += (text.empty() ? "" : ", ") + path + "=" + value;
  return text.empty() ? "(base)" : text;
}

struct Statistics {
  double mean = 0.0, deviation = 0.0;
};

Statistics statistics(const std::vector<double>& values) {
  Statistics s;
  for (const double v : values) s.mean += v / static_cast<double>(values.size());
  for (const double v : values) s.deviation += (v - s.mean) * (v - s.mean);
  s.deviation =
      values.size() > 1 ? std::sqrt(s.deviation / static_cast<double>(values.size() - 1)) : 0.0;
  return s;
}

}  // namespace

void run_study(const Study& study, int part, int parts, Communicator& comm,
               const TrainFunction& train, const SayFunction& say) {
  for (std::size_t i = 0; i < study.runs.size(); ++i) {
    if (static_cast<int>(i % static_cast<std::size_t>(parts)) != part) continue;
    const StudyRun& run = study.runs[i];
    std::string state;
    agree(comm, [&] {
      if (comm.rank() == 0) state = state_of(run);
    });
    state = from_rank_0(comm, state);
    const std::string title = fmt::format("[{}/{}] {}", i + 1, study.runs.size(), run.name);
    if (state == "done") {
      say(title + ": done before, skipped");
      continue;
    }
    say(title + (state == "auto" ? ": goes on" : ""));
    try {
      train(run.loaded, state);
    } catch (const DivergedError& error) {
      say(fmt::format("  {}", error.what()));
    }
  }
}

std::vector<RunResult> study_results(const Study& study) {
  std::vector<RunResult> results;
  for (const StudyRun& run : study.runs) {
    const nlohmann::json summary = summary_of(run);
    const auto number = [&](const char* key) {
      return summary.contains(key) && summary[key].is_number() ? summary[key].get<double>()
                                                               : std::nan("");
    };
    results.push_back({setting_text(run), text_of(summary, "status", "missing"),
                       number("test_accuracy"), number("final_loss"), number("samples_per_second"),
                       number("reduction_share")});
  }
  return results;
}

std::string study_table(const std::vector<RunResult>& results) {
  std::vector<std::string> settings;
  std::size_t width = std::string("setting").size();
  for (const RunResult& result : results) {
    if (std::find(settings.begin(), settings.end(), result.setting) == settings.end())
      settings.push_back(result.setting);
    width = std::max(width, result.setting.size());
  }
  std::string table =
      fmt::format("| {:<{}} | test accuracy    | final loss | images/s | exposed reductions |\n",
                  "setting", width);
  table += fmt::format(
      "|{:-<{}}|------------------|------------|----------|--------------------|\n", "", width + 2);
  for (const std::string& setting : settings) {
    std::vector<double> accuracy, loss, rate, share;
    int diverged = 0, missing = 0;
    for (const RunResult& result : results) {
      if (result.setting != setting) continue;
      diverged += result.status == "diverged";
      missing += result.status != "diverged" && result.status != "done";
      if (result.status != "done") continue;
      accuracy.push_back(100.0 * result.accuracy);
      loss.push_back(result.final_loss);
      rate.push_back(result.samples_per_second);
      share.push_back(100.0 * result.reduction_share);
    }
    std::string note;
    if (diverged > 0) note += fmt::format(" {} diverged", diverged);
    if (missing > 0) note += fmt::format(" {} not run", missing);
    if (accuracy.empty()) {
      table += fmt::format("| {:<{}} |{:<17} | {:>10} | {:>8} | {:>18} |\n", setting, width, note,
                           "-", "-", "-");
      continue;
    }
    const Statistics a = statistics(accuracy);
    const std::string cell = accuracy.size() > 1
                                 ? fmt::format("{:.2f}% ± {:.2f}", a.mean, a.deviation)
                                 : fmt::format("{:.2f}%", a.mean);
    table += fmt::format("| {:<{}} | {:<16} | {:>10.4f} | {:>8.0f} | {:>17.1f}% |\n", setting,
                         width, cell + note, statistics(loss).mean, statistics(rate).mean,
                         statistics(share).mean);
  }
  return table;
}

}  // namespace syncnorm
