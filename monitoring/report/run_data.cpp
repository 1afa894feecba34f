// See run_data.h.
#include "monitoring/report/run_data.h"

#include <cmath>

#include "base/error.h"
#include "base/regular_file.h"
#include "monitoring/run_history.h"

namespace syncnorm::report {
namespace {

namespace fs = std::filesystem;
using Json = nlohmann::json;

template <class AnyJson>
double number_in(const AnyJson& json, const char* key) {
  const auto found = json.find(key);
  return found != json.end() && found->is_number() ? found->template get<double>() : std::nan("");
}

Json read_summary(const fs::path& folder) {
  Json json = Json::parse(read_run_file(folder, "summary.json").value_or(""), nullptr, false);
  return json.is_object() ? json : Json::object();
}

StepRow step_row(const Json& event, double before) {
  StepRow row;
  row.step = number_of(event, "step");
  row.loss = number_of(event, "loss");
  row.accuracy = number_of(event, "accuracy");
  row.lr = number_of(event, "lr");
  row.gradient_norm = number_of(event, "gradient_norm");
  row.samples = number_of(event, "samples");
  row.seconds = number_of(event, "seconds");
  row.data_seconds = number_of(event, "data_seconds");
  row.reduction_seconds = number_of(event, "reduction_seconds");
  row.elapsed = before + (std::isfinite(row.seconds) ? row.seconds : 0.0);
  return row;
}

/// Returns "test", or "test, batch statistics" for other statistics than the run's first, or "test,
/// ema weights".
std::string split_of(const Json& event, const Json& start) {
  const std::string split = text_of(event, "split"), statistics = text_of(event, "statistics");
  const std::string weights = text_of(event, "weights");
  if (!weights.empty()) return split + ", " + weights + " weights";
  const bool first = statistics.empty() || statistics == text_of(start, "statistics");
  return first ? split : split + ", " + statistics + " statistics";
}

void read_log(RunData& run) {
  const std::string log = read_run_file(run.folder, "metrics.jsonl").value_or("");
  double elapsed = 0.0;
  for_each_line(log, [&](std::string_view line) {
    const Json event = Json::parse(line, nullptr, false);
    if (!event.is_object()) return;
    const std::string kind = text_of(event, "event");
    if (kind == "start") {
      run.start = event;
    } else if (kind == "step") {
      run.steps.push_back(step_row(event, elapsed));
      elapsed = run.steps.back().elapsed;
    } else if (kind == "eval") {
      run.evals.push_back({number_of(event, "step"), elapsed, split_of(event, run.start),
                           number_of(event, "loss"), number_of(event, "accuracy"),
                           number_of(event, run.metric().key)});
    } else if (kind == "probe") {
      run.probes.push_back(nlohmann::ordered_json::parse(line));
    }
  });
}

}  // namespace

double number_of(const Json& json, const char* key) { return number_in(json, key); }
double number_of(const nlohmann::ordered_json& json, const char* key) {
  return number_in(json, key);
}

double RunData::score(const std::string& split) const {
  return number_of(summary, (split + "_" + metric().key).c_str());
}

std::string RunData::value(const std::string& path) const {
  for (const ResolvedValue& one : values)
    if (one.path == path) return one.value;
  return "";
}

bool is_run_folder(const fs::path& folder) { return fs::exists(folder / "metrics.jsonl"); }

RunData read_run(const fs::path& folder) {
  RunData run;
  run.folder = folder;
  run.start = Json::object();
  run.summary = read_summary(folder);
  run.status = text_of(run.summary, "status", is_run_folder(folder) ? "unfinished" : "missing");
  read_log(run);
  try {
    run.values = load_experiment(folder / "config.yaml").values;
  } catch (const InputError&) {
    // Missing, or written by another version: the report omits the configuration.
  }
  return run;
}

}  // namespace syncnorm::report
