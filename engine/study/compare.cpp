// See compare.h. The state of a run is only in its folder: config.yaml is its configuration,
// summary.json its outcome.
#include "engine/study/compare.h"

#include <algorithm>
#include <cmath>
#include <filesystem>
#include <functional>
#include <map>

#include <fmt/format.h>
#include <fmt/ranges.h>
#include <nlohmann/json.hpp>

#include "base/error.h"
#include "base/json_values.h"
#include "base/regular_file.h"
#include "comm/agreement.h"
#include "engine/config/names.h"

namespace syncnorm {
namespace {

namespace fs = std::filesystem;

constexpr const char* kHint = "move it away, or choose another run_dir";

/// Describes a setting in which the run in a folder differs from the study's run; "" for the same
/// run. run_dir is ignored, since the folder may have been moved.
std::string setting_that_differs(const fs::path& config, const StudyRun& run) {
  if (read_text_file(config, kHint) == run.loaded.yaml) return "";
  LoadedExperiment there;
  try {
    there = load_experiment(config);
  } catch (const InputError&) {
    return "of another version of this program, or changed by hand";
  }
  const auto value_in = [](const LoadedExperiment& loaded, const std::string& path) {
    const auto found = std::ranges::find(loaded.values, path, &ResolvedValue::path);
    return found == loaded.values.end() ? std::string("none") : found->value;
  };
  for (const LoadedExperiment* one : {&run.loaded, static_cast<const LoadedExperiment*>(&there)})
    for (const ResolvedValue& value : one->values)
      if (value.path != "run_dir" &&
          value_in(there, value.path) != value_in(run.loaded, value.path))
        return fmt::format("{}: {} there, {} here", value.path, value_in(there, value.path),
                           value_in(run.loaded, value.path));
  return "";
}

nlohmann::json summary_of(const StudyRun& run) {
  const fs::path path = fs::path(run.loaded.experiment.run_dir) / "summary.json";
  nlohmann::json summary =
      nlohmann::json::parse(read_text_file_if_there(path, kHint).value_or(""), nullptr, false);
  return summary.is_object() ? summary : nlohmann::json::object();
}

/// Returns "done" if there is nothing to do, "auto" for a run to resume, "" for a new one. Throws
/// InputError for a folder with another configuration.
std::string state_of(const StudyRun& run) {
  const fs::path folder = run.loaded.experiment.run_dir;
  if (!fs::exists(folder / "config.yaml")) return "";
  if (const std::string other = setting_that_differs(folder / "config.yaml", run); !other.empty())
    throw InputError(
        fmt::format("{}: holds a run with other settings ({}); move it away, or choose another "
                    "run_dir",
                    folder.string(), other));
  const std::string status = text_of(summary_of(run), "status");
  return status == "done" || status == "diverged" ? "done" : "auto";
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

std::vector<OtherEvaluation> other_evaluations() {
  std::vector<OtherEvaluation> all;
  for (const auto& choice : config::choices(EvaluationStatistics{}))
    all.push_back({std::string(choice.name), fmt::format("{} statistics", choice.name)});
  all.push_back({"ema", "ema weights"});
  return all;
}

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
    const Metric metric = metric_of_key(text_of(summary, "metric"));
    const auto number = [&](const std::string& key) {
      return summary.contains(key) && summary[key].is_number() ? summary[key].get<double>()
                                                               : std::nan("");
    };
    std::vector<std::pair<std::string, double>> others;
    for (const OtherEvaluation& other : other_evaluations()) {
      const double score = number(fmt::format("test_{}_{}", metric.key, other.word));
      if (std::isfinite(score)) others.emplace_back(other.word, score);
    }
    results.push_back({{run.settings, text_of(summary, "status", "missing"),
                        number(std::string("test_") + metric.key),
                        number(std::string("validation_") + metric.key)},
                       number("final_loss"),
                       number("samples_per_second"),
                       number("reduction_share")});
    results.back().other_scores = std::move(others);
    results.back().metric = metric;
  }
  return results;
}

namespace {

std::vector<Variant> variants_of(const std::vector<RunResult>& results,
                                 const std::vector<std::string>& best_of) {
  std::vector<StudyOutcome> outcomes;
  for (const RunResult& result : results) outcomes.push_back(result.outcome);
  return make_variants(outcomes, best_of);
}

std::string label_of(const Variant& variant) {
  const std::string text = settings_text(variant.settings);
  return text.empty() ? "(base)" : text;
}

/// A row of the table: the results of a variant so far.
struct Row {
  std::string setting, score, loss = "-", rate = "-", share = "-", chosen, difference, predicted;
  std::map<std::string, std::string> others;  // scores of other_evaluations(), by their words
};

/// Formats scores in [0, 1] as percent: mean ± sample standard deviation.
std::string score_text(const std::vector<double>& scores) {
  const Statistics a = statistics(scores);
  return scores.size() > 1 ? fmt::format("{:.2f}% ± {:.2f}", 100.0 * a.mean, 100.0 * a.deviation)
                           : fmt::format("{:.2f}%", 100.0 * a.mean);
}

Row row_of(const Variant& variant, const std::vector<RunResult>& results) {
  std::vector<double> score, loss, rate, share;
  std::map<std::string, std::vector<double>> others;
  int diverged = 0, missing = 0;
  for (const std::size_t run : variant.runs) {
    const RunResult& result = results[run];
    diverged += result.outcome.status == "diverged";
    missing += result.outcome.status != "diverged" && result.outcome.status != "done";
    if (result.outcome.status != "done") continue;
    score.push_back(result.outcome.score);
    for (const auto& [word, value] : result.other_scores) others[word].push_back(value);
    loss.push_back(result.final_loss);
    rate.push_back(result.samples_per_second);
    share.push_back(100.0 * result.reduction_share);
  }
  Row row;
  row.setting = label_of(variant);
  row.chosen = settings_text(variant.chosen);
  row.difference = difference_text(variant);
  if (const double seconds = results[variant.runs.front()].predicted_step; std::isfinite(seconds))
    row.predicted = fmt::format("{:.2f}", 1e3 * seconds);
  std::vector<std::string> words;
  if (!score.empty()) {
    words.push_back(score_text(score));
    row.loss = fmt::format("{:.4f}", statistics(loss).mean);
    row.rate = fmt::format("{:.0f}", statistics(rate).mean);
    row.share = fmt::format("{:.1f}%", statistics(share).mean);
  }
  for (const auto& [word, values] : others) row.others[word] = score_text(values);
  if (diverged > 0) words.push_back(fmt::format("{} diverged", diverged));
  if (missing > 0) words.push_back(fmt::format("{} not run", missing));
  row.score = fmt::format("{}", fmt::join(words, " "));
  return row;
}

struct Column {
  std::string title;
  std::function<std::string(const Row&)> text;
  bool right;                   // alignment
  std::size_t least_width = 0;  // so that the layout stays the same as results arrive
};

/// Returns the metric of the runs that are done.
Metric metric_of(const std::vector<RunResult>& results) {
  const auto done = std::find_if(results.begin(), results.end(), [](const RunResult& result) {
    return std::isfinite(result.outcome.score);
  });
  return done == results.end() ? kAccuracyMetric : done->metric;
}

/// Returns the columns that have a cell that is not empty.
std::vector<Column> columns_of(const std::vector<Row>& rows, const Metric& metric) {
  const auto member = [](std::string Row::*text) {
    return [text](const Row& row) { return row.*text; };
  };
  constexpr std::size_t kScoreWidth = 16;
  std::vector<Column> columns = {
      {"setting", member(&Row::setting), false},
      {"chosen", member(&Row::chosen), false},
      {fmt::format("test {}", metric.title), member(&Row::score), false, kScoreWidth}};
  for (const OtherEvaluation& other : other_evaluations())
    columns.push_back({other.title,
                       [word = other.word](const Row& row) {
                         const auto found = row.others.find(word);
                         return found == row.others.end() ? std::string() : found->second;
                       },
                       false});
  columns.insert(columns.end(), {{"difference, 95%", member(&Row::difference), false},
                                 {"final loss", member(&Row::loss), true},
                                 {"images/s", member(&Row::rate), true},
                                 {"exposed reductions", member(&Row::share), true},
                                 {"predicted step, ms", member(&Row::predicted), true}});
  std::erase_if(columns, [&](const Column& column) {
    return std::all_of(rows.begin(), rows.end(),
                       [&](const Row& row) { return column.text(row).empty(); });
  });
  return columns;
}

/// Returns the width of a UTF-8 text, in characters.
std::size_t width_of(const std::string& text) {
  return static_cast<std::size_t>(std::count_if(text.begin(), text.end(), [](char c) {
    return (static_cast<unsigned char>(c) & 0xC0u) != 0x80u;
  }));
}

std::string padded(const std::string& text, std::size_t width, bool right) {
  const std::string space(width - std::min(width, width_of(text)), ' ');
  return right ? space + text : text + space;
}

}  // namespace

std::string study_table(const std::vector<RunResult>& results,
                        const std::vector<std::string>& best_of) {
  std::vector<Row> rows;
  for (const Variant& variant : variants_of(results, best_of))
    rows.push_back(row_of(variant, results));
  std::string head = "|", rule = "|";
  std::vector<std::string> lines(rows.size(), "|");
  for (const Column& column : columns_of(rows, metric_of(results))) {
    std::size_t width = std::max(width_of(column.title), column.least_width);
    for (const Row& row : rows) width = std::max(width, width_of(column.text(row)));
    head += " " + padded(column.title, width, false) + " |";
    rule += std::string(width + 2, '-') + "|";
    for (std::size_t i = 0; i < rows.size(); ++i)
      lines[i] += " " + padded(column.text(rows[i]), width, column.right) + " |";
  }
  return fmt::format("{}\n{}\n{}\n", head, rule, fmt::join(lines, "\n"));
}

std::string study_json(const Study& study, const std::vector<RunResult>& results) {
  using Json = nlohmann::ordered_json;
  const auto map_of = [](const StudySettings& settings) {
    Json json = Json::object();
    for (const auto& [path, value] : settings) json[path] = value;
    return json;
  };
  Json runs = Json::array(), variants = Json::array();
  for (const StudyRun& run : study.runs)
    runs.push_back({{"folder", fs::path(run.loaded.experiment.run_dir).filename().string()},
                    {"settings", map_of(run.settings)}});
  const std::vector<Variant> made = variants_of(results, study.best_of);
  for (const Variant& variant : made) {
    Json json = {{"settings", map_of(variant.settings)}};
    if (!variant.chosen.empty()) json["chosen"] = map_of(variant.chosen);
    if (variant.difference) {
      const PairedDifference& d = *variant.difference;
      json["against"] = map_of(made[static_cast<std::size_t>(variant.reference)].settings);
      json[fmt::format("test_{}_difference", metric_of(results).key)] = {
          {"mean", d.mean},
          {"low", d.mean - d.half_width},
          {"high", d.mean + d.half_width},
          {"confidence", kConfidence},
          {"pairs", d.pairs}};
    }
    variants.push_back(std::move(json));
  }
  Json json = {{"name", study.name}};
  if (!study.best_of.empty()) json["best_of"] = study.best_of;
  if (study.target_accuracy > 0.0) json["target_accuracy"] = study.target_accuracy;
  json["runs"] = runs;
  json["variants"] = variants;
  return json.dump(2) + "\n";
}

}  // namespace syncnorm
