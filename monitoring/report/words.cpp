// See words.h.
#include "monitoring/report/words.h"

#include <algorithm>
#include <cmath>
#include <cstdlib>
#include <map>
#include <utility>

#include <fmt/format.h>

#include "engine/study/compare.h"

namespace syncnorm::report {
namespace {

constexpr double kFewImages = 16.0;    // Wu & He 2018: BatchNorm's error grows below 16
constexpr double kLargeGap = 0.10;     // of accuracy, between training and test
constexpr double kMuchReducing = 0.2;  // fraction of the training time
constexpr double kMuchData = 0.1;
constexpr std::size_t kManySettings = 4;  // more are summarized as a range

std::string before(const Setting& setting) {
  return setting.label.empty() ? "" : setting.label + ": ";
}

std::string plural(double count, const char* noun) {
  return fmt::format("{:g} {}{}", count, noun, count == 1.0 ? "" : "s");
}

double test_accuracy(const RunData& run) { return number_of(run.summary, "test_accuracy"); }

double test_score(const RunData& run) { return run.score("test"); }

/// Returns the mean accuracy of the last tenth of the updates, each measured before its update.
double training_accuracy(const RunData& run) {
  std::vector<double> values;
  for (std::size_t i = run.steps.size() - run.steps.size() / 10; i < run.steps.size(); ++i)
    if (std::isfinite(run.steps[i].accuracy)) values.push_back(run.steps[i].accuracy);
  return spread_of(values).mean;
}

/// Warns of runs that have no outcome yet, or one other than "done".
void warn_of_outcomes(const StudyData& study, std::vector<std::string>& warnings) {
  std::size_t all = 0, missing = 0, unfinished = 0;
  for (const Setting& setting : study.settings) {
    std::map<std::string, int> others;
    for (const RunData& run : setting.runs) {
      ++all;
      if (run.status == "missing") ++missing;
      if (run.status == "unfinished") ++unfinished;
      if (run.status == "done" || run.status == "missing" || run.status == "unfinished") continue;
      ++others[fmt::format("{} at update {:g}", run.status, number_of(run.summary, "step"))];
    }
    for (const auto& [what, count] : others)
      warnings.push_back(fmt::format("{}{} of {} {}.", before(setting), count,
                                     plural(static_cast<double>(setting.runs.size()), "run"),
                                     what));
  }
  if (missing > 0) warnings.push_back(fmt::format("Not started: {} of {} runs.", missing, all));
  if (unfinished > 0)
    warnings.push_back(
        fmt::format("Still running, or ended without a summary: {} of {} runs.", unfinished, all));
}

/// Describes the largest distance of single replicas' means from those of all at the last probe,
/// with its layer; "" when that was not measured.
std::string spread_words(const RunData& run) {
  if (run.probes.empty() || !run.probes.back().contains("replica_spread")) return "";
  double most = -1.0;
  std::string where;
  for (const auto& [layer, spread] : run.probes.back().at("replica_spread").items()) {
    const double distance = number_of(spread, "mean");
    if (!(distance > most)) continue;
    most = distance;
    where = layer;
  }
  if (where.empty()) return "";
  return fmt::format(
      "; at the last probe the replicas' means lay {:.2f} standard deviations from the mean of all "
      "replicas, at the input of {}",
      most, where);
}

/// The images over which BatchNorm without renormalization takes its statistics.
struct Statistics {
  double replicas = 0.0, batch = 0.0;
  double images() const { return replicas * batch; }
  bool are_of_few() const { return images() > 0.0 && images() < kFewImages; }
};

Statistics statistics_of(const RunData& run) {
  if (run.value("norm.kind") != "batch" || run.value("norm.renormalize") == "true") return {};
  const std::string synced = run.value("norm.synced_replicas");
  return {std::atof((synced == "all" ? run.value("replicas") : synced).c_str()),
          std::atof(run.value("batch_per_replica").c_str())};
}

void warn_of_few_images(const Setting& setting, std::vector<std::string>& warnings) {
  const RunData& run = setting.runs.front();
  const Statistics statistics = statistics_of(run);
  if (!statistics.are_of_few()) return;
  warnings.push_back(fmt::format("{}BatchNorm statistics come from only {} ({} of {}){}.",
                                 before(setting), plural(statistics.images(), "image"),
                                 plural(statistics.replicas, "replica"),
                                 plural(statistics.batch, "image"), spread_words(run)));
}

void warn_of_gap(const Setting& setting, std::vector<std::string>& warnings) {
  const double test = spread_of(setting.numbers(test_accuracy)).mean;
  const double training = spread_of(setting.numbers(training_accuracy)).mean;
  if (!(training - test > kLargeGap)) return;
  const bool is_suspect = statistics_of(setting.runs.front()).are_of_few();
  warnings.push_back(fmt::format(
      "{}training accuracy is {:.1f}% at the end, but test accuracy {:.1f}%{}.", before(setting),
      100.0 * training, 100.0 * test,
      is_suspect ? "; with statistics from few images, the running statistics may not fit them"
                 : ""));
}

/// Warns of updates missing from the log, which has a line for every one; a full disk can lose
/// some.
void warn_of_lost_steps(const Setting& setting, std::vector<std::string>& warnings) {
  for (const RunData& run : setting.runs) {
    if (run.steps.empty()) continue;
    double all = run.steps.back().step;
    if (const double done = number_of(run.summary, "step"); done > all) all = done;
    const double lost = all - static_cast<double>(run.steps.size());
    if (lost > 0.0)
      warnings.push_back(
          fmt::format("{}the log lacks {:g} of {}.", before(setting), lost, plural(all, "update")));
  }
}

/// Adds one sentence for all settings whose share of time under `key` is more than `most`.
void warn_of_share(const StudyData& study, const char* key, double most, const std::string& what,
                   std::vector<std::string>& warnings) {
  std::vector<std::pair<double, std::string>> found;
  for (const Setting& setting : study.settings) {
    const double share = spread_of(setting.numbers([&](const RunData& r) {
                           return number_of(r.summary, key);
                         })).mean;
    if (share > most)
      found.emplace_back(share, (setting.label.empty() ? "" : " with ") + setting.label);
  }
  if (found.empty()) return;
  std::vector<std::string> shares;
  for (const auto& [share, where] : found)
    shares.push_back(fmt::format("{:.0f}%{}", 100.0 * share, where));
  std::string text = fmt::format("{}", fmt::join(shares, "; "));
  if (found.size() > kManySettings) {
    const auto [least, largest] = std::minmax_element(found.begin(), found.end());
    text =
        fmt::format("{:.0f}% to {:.0f}% in {} of {} settings, the largest{}", 100.0 * least->first,
                    100.0 * largest->first, found.size(), study.settings.size(), largest->second);
  }
  warnings.push_back(fmt::format("Share of training time spent waiting for {}: {}.", what, text));
}

/// Reports the time of probes, which a run's steps do not include.
void tell_of_probes(const Setting& setting, std::vector<std::string>& warnings) {
  double probing = 0.0, training = 0.0;
  for (const RunData& run : setting.runs) {
    for (const auto& probe : run.probes) probing += number_of(probe, "seconds");
    if (!run.steps.empty()) training += run.steps.back().elapsed;
  }
  if (probing > 0.0 && training > 0.0)
    warnings.push_back(fmt::format(
        "{}probes took {:.1f} s in addition to {:.1f} s of training; no other time includes them.",
        before(setting), probing, training));
}

/// Formats the mean, and with seeds ± the sample standard deviation; "–" without values.
std::string cell(const std::vector<double>& values, double scale, int digits, const char* unit) {
  if (values.empty()) return "–";
  const Spread s = spread_of(values);
  const std::string mean = fmt::format("{:.{}f}{}", scale * s.mean, digits, unit);
  return s.count == 1 ? mean : mean + fmt::format(" ± {:.{}f}", scale * s.deviation, digits);
}

/// Drops the columns after the first that are empty in all rows.
void drop_empty_columns(Table& table) {
  for (std::size_t c = table.columns.size(); c-- > 1;) {
    const bool empty = std::all_of(table.rows.begin(), table.rows.end(),
                                   [&](const auto& row) { return row[c].empty(); });
    if (!empty) continue;
    const auto at = static_cast<std::ptrdiff_t>(c);
    table.columns.erase(table.columns.begin() + at);
    for (auto& row : table.rows) row.erase(row.begin() + at);
  }
}

/// Returns the first step whose test evaluation reaches `score`, or nan.
double first_update(const RunData& run, double score) {
  const auto found = std::find_if(run.evals.begin(), run.evals.end(), [&](const EvalRow& row) {
    return row.split == "test" && row.score >= score;
  });
  return found == run.evals.end() ? std::nan("") : found->step;
}

/// Lists all keys of any run, in the schema's order as far as the runs agree.
std::vector<std::string> paths_of(const StudyData& study) {
  std::vector<std::string> paths;
  for (const Setting& setting : study.settings)
    for (const RunData& run : setting.runs)
      for (const ResolvedValue& value : run.values)
        if (std::find(paths.begin(), paths.end(), value.path) == paths.end())
          paths.push_back(value.path);
  return paths;
}

/// Lists the distinct values of a key in the runs, in order.
std::vector<std::string> values_of(const StudyData& study, const std::string& path) {
  std::vector<std::string> found;
  for (const Setting& setting : study.settings)
    for (const RunData& run : setting.runs)
      if (const std::string value = run.value(path);
          !value.empty() && std::find(found.begin(), found.end(), value) == found.end())
        found.push_back(value);
  return found;
}

}  // namespace

std::vector<std::string> warnings_of(const StudyData& study) {
  std::vector<std::string> warnings;
  for (const Setting& setting : study.settings) warn_of_few_images(setting, warnings);
  if (!warnings.empty())
    warnings.push_back(
        "Wu & He 2018 measured the effect with ResNet-50 on ImageNet: BatchNorm's error was 24.2% "
        "with 16 "
        "images per GPU, 24.8% with 8, 27.3% with 4 and 34.7% with 2.");
  for (const Setting& setting : study.settings) {
    warn_of_lost_steps(setting, warnings);
    warn_of_gap(setting, warnings);
    tell_of_probes(setting, warnings);
  }
  warn_of_share(study, "reduction_share", kMuchReducing, "other ranks", warnings);
  warn_of_share(study, "data_share", kMuchData, "data", warnings);
  warn_of_outcomes(study, warnings);
  return warnings;
}

Table accuracy_by_batch(const StudyData& study) {
  Table table{{fmt::format("test {}", study.metric().title)}, {}};
  for (const Setting& setting : study.settings) {
    if (setting.batch.empty()) continue;
    const std::string column = fmt::format("{} per replica", setting.batch);
    auto at = std::find(table.columns.begin(), table.columns.end(), column);
    if (at == table.columns.end()) at = table.columns.insert(table.columns.end(), column);
    const auto index = static_cast<std::size_t>(at - table.columns.begin());
    auto row = std::find_if(table.rows.begin(), table.rows.end(),
                            [&](const auto& cells) { return cells[0] == setting.line; });
    if (row == table.rows.end()) row = table.rows.insert(table.rows.end(), {setting.line});
    if (row->size() <= index) row->resize(index + 1, "–");
    (*row)[index] = cell(setting.numbers(test_score), 100.0, 2, "%");
  }
  for (std::vector<std::string>& row : table.rows) row.resize(table.columns.size(), "–");
  return table;
}

Table every_setting(const StudyData& study) {
  const Metric metric = study.metric();
  const std::string tested = fmt::format("test {}", metric.title);
  Table table{{"setting", "runs done", "chosen", tested, "difference, 95%", "against",
               "last training loss", "images/s", "exposed reductions"},
              {}};
  const std::vector<OtherEvaluation> others = other_evaluations();
  for (const OtherEvaluation& other : others) table.columns.push_back(tested + ", " + other.title);
  for (const Setting& setting : study.settings) {
    const auto column = [&](const std::string& key) {
      return setting.numbers([&](const RunData& run) {
        return run.status == "done" ? number_of(run.summary, key.c_str()) : std::nan("");
      });
    };
    const auto done = std::count_if(setting.runs.begin(), setting.runs.end(),
                                    [](const RunData& run) { return run.status == "done"; });
    table.rows.push_back({setting.label.empty() ? study.name : setting.label,
                          fmt::format("{} of {}", done, setting.runs.size()), setting.chosen,
                          cell(column(std::string("test_") + metric.key), 100.0, 2, "%"),
                          setting.difference, setting.reference,
                          cell(column("final_loss"), 1.0, 4, ""),
                          cell(column("samples_per_second"), 1.0, 0, ""),
                          cell(column("reduction_share"), 100.0, 1, "%")});
    for (const OtherEvaluation& other : others) {
      const std::vector<double> score = column(fmt::format("test_{}_{}", metric.key, other.word));
      table.rows.back().push_back(score.empty() ? "" : cell(score, 100.0, 2, "%"));
    }
  }
  drop_empty_columns(table);
  return table;
}

Table updates_to_target(const StudyData& study) {
  const std::string target =
      fmt::format("{:g}% test {}", 100.0 * study.target_accuracy, study.metric().title);
  Table table{{"setting", "runs that reach " + target, "updates to it"}, {}};
  for (const Setting& setting : study.settings) {
    if (study.target_accuracy == 0.0) break;
    const std::vector<double> updates = setting.numbers(
        [&](const RunData& run) { return first_update(run, study.target_accuracy); });
    table.rows.push_back({setting.label,
                          fmt::format("{} of {}", updates.size(), setting.runs.size()),
                          cell(updates, 1.0, 0, "")});
  }
  return table;
}

Table changed_settings(const StudyData& study) {
  Table table{{"key", study.is_study ? "values" : "value", "default"}, {}};
  const std::vector<ResolvedValue> usual = parse_experiment_text("{}", "defaults").values;
  for (const std::string& path : paths_of(study)) {
    if (path == "name" || path == "run_dir") continue;
    const auto same = std::find_if(usual.begin(), usual.end(),
                                   [&](const ResolvedValue& value) { return value.path == path; });
    const std::string standard = same == usual.end() ? "" : same->value;
    const std::vector<std::string> values = values_of(study, path);
    if (values.size() > 1 || values[0] != standard)
      table.rows.push_back({path, fmt::format("{}", fmt::join(values, " · ")), standard});
  }
  return table;
}

}  // namespace syncnorm::report
