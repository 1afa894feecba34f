// See run_log.h. The log is flushed at every event other than a step, at the first step, and at
// steps at least half a second after a step last flushed it, so that it can be watched.
#include "monitoring/run_log.h"

#include <chrono>
#include <cmath>

#include <fmt/format.h>
#include <nlohmann/json.hpp>

#include "base/clock.h"
#include "base/error.h"
#include "base/json_values.h"
#include "base/printable.h"
#include "base/regular_file.h"
#include "engine/state/run_lock.h"
#include "monitoring/examples.h"
#include "monitoring/probe_json.h"
#include "monitoring/whole_file.h"

namespace syncnorm {
namespace {

namespace fs = std::filesystem;
using Json = nlohmann::ordered_json;
constexpr std::chrono::milliseconds kFlushInterval{500};
constexpr const char* kHint = "choose another run_dir";
constexpr std::size_t kMostClasses = 256;  // whose results are logged

/// JSON has no nan or infinity; they become the strings "nan", "inf", "-inf".
Json number(double value) {
  if (std::isfinite(value)) return value;
  return std::isnan(value) ? "nan" : (value > 0 ? "inf" : "-inf");
}

}  // namespace

void RunLog::on_start(const StartEvent& event) {
  start_ = event;
  folder_ = event.run_dir;
  create_run_folder(folder_);
  write_whole(folder_ / "config.yaml", event.config_yaml, kHint);
  if (event.first_step == 0) {
    // A fresh start: an earlier try that left a log here wrote no checkpoint, so its log is void.
    std::error_code error;
    fs::remove(folder_ / "metrics.jsonl", error);
    log_.open(folder_ / "metrics.jsonl");
  } else {
    cut_back(event.first_step);
  }
  Json start{{"event", "start"},
             {"name", event.name},
             {"version", event.version},
             {"device", event.device},
             {"communicator", event.communicator},
             {"model", event.model},
             {"ranks", event.ranks},
             {"replicas", event.replicas},
             {"batch_per_replica", event.batch_per_replica},
             {"time", unix_seconds()},
             {"first_step", event.first_step},
             {"total_steps", event.total_steps},
             {"steps_per_epoch", event.steps_per_epoch},
             {"dataset", event.dataset},
             {"train_samples", event.train_samples},
             {"validation_samples", event.validation_samples},
             {"test_samples", event.test_samples},
             {"classes", event.classes},
             {"metric", event.metric.key},
             {"parameters", event.parameters},
             {"arena_bytes", event.arena_bytes}};
  if (!event.statistics.empty()) start["statistics"] = event.statistics;
  if (!event.choices.empty()) start["choices"] = event.choices;
  write(start);
}

template <class Json>
void RunLog::write(const Json& json) {
  log_.append(json.dump() + "\n");
  log_.flush();
}

/// Drops log lines after the checkpoint: steps that will run again, and a torn last line.
void RunLog::cut_back(std::int64_t step) {
  const fs::path path = folder_ / "metrics.jsonl";
  std::string kept;
  for_each_line(read_text_file_if_there(path, kHint).value_or(""), [&](std::string_view line) {
    const Json json = Json::parse(line, nullptr, false);
    if (json.is_discarded() || !json.is_object()) return;
    const std::string event = text_of(json, "event");
    // A run that is resumed at its end is evaluated again.
    const bool again = event == "eval" && step == start_.total_steps;
    const bool behind = json.contains("step") && json["step"].is_number_integer() &&
                        json["step"].get<std::int64_t>() > step - (again ? 1 : 0);
    if (!behind && event != "end") kept += std::string(line) + "\n";
  });
  write_whole(path, kept, kHint);
  log_.open(path);
}

void RunLog::on_resume(const ResumeEvent& event) {
  Json resume{{"event", "resume"}, {"step", event.step}, {"path", event.path}};
  if (!event.note.empty()) resume["note"] = event.note;
  write(resume);
}

void RunLog::on_step(const StepEvent& event) {
  Json json = {{"event", "step"},
               {"step", event.step},
               {"epoch", event.epoch},
               {"loss", number(event.loss)},
               {"lr", number(event.lr)},
               {"samples", event.samples},
               {"seconds", event.seconds},
               {"accuracy", event.accuracy},
               {"data_seconds", event.data_seconds},
               {"reduction_seconds", event.reduction_seconds}};
  if (event.gradient_norm >= 0.0 || std::isnan(event.gradient_norm))
    json["gradient_norm"] = number(event.gradient_norm);
  log_.append(json.dump() + "\n");
  const auto now = Clock::now();
  if (now < next_flush_) return;
  log_.flush();
  next_flush_ = now + kFlushInterval;
}

void RunLog::on_probe(const ProbeEvent& event) { write(probe_json(event)); }

void RunLog::on_eval(const EvalEvent& event) {
  Json json = {
      {"event", "eval"},         {"step", event.step},         {"epoch", event.epoch},
      {"split", event.split},    {"loss", number(event.loss)}, {"accuracy", event.accuracy},
      {"seconds", event.seconds}};
  if (event.per_pixel()) json["mean_iou"] = number(event.mean_iou);
  if (!event.statistics.empty()) json["statistics"] = event.statistics;
  if (!event.weights.empty()) json["weights"] = event.weights;
  if (event.sample_weight >= 0.0) json["sample_weight"] = event.sample_weight;
  if (const std::string key = event.per_pixel() ? "class_iou" : "class_accuracy";
      event.classes.size() <= kMostClasses)
    for (const ClassResult& one : event.classes)
      json[key].push_back(number(event.per_pixel() ? one.iou : one.accuracy));
  write(json);
}

void RunLog::on_examples(const ExamplesEvent& event) {
  write_examples(folder_ / "examples", event.images, start_.class_names, start_.classes);
}

void RunLog::on_snapshot(const SnapshotEvent&) { log_.flush(); }

void RunLog::on_checkpoint(const CheckpointEvent& event) {
  write(Json{{"event", "checkpoint"},
             {"step", event.step},
             {"path", event.path},
             {"bytes", event.bytes},
             {"seconds", event.seconds}});
}

void RunLog::on_checkpoint_failed(const CheckpointFailedEvent& event) {
  write(Json{{"event", "checkpoint_failed"}, {"step", event.step}, {"message", event.message}});
}

void RunLog::on_end(const EndEvent& event) {
  for (const auto& [path, reason] : event.corrupt)
    log_.append(Json{{"event", "corrupt_image"}, {"path", path}, {"reason", reason}}.dump() + "\n");
  log_.flush();
  Json json = {{"event", "end"},
               {"status", event.status},
               {"step", event.step},
               {"seconds", event.seconds},
               {"final_loss", number(event.final_loss)},
               {"samples_per_second", event.samples_per_second},
               {"reduction_share", event.reduction_share},
               {"data_share", event.data_share},
               {"evaluation_seconds", event.evaluation_seconds},
               {"checkpoint_seconds", event.checkpoint_seconds}};
  if (!event.message.empty()) json["message"] = event.message;
  if (event.reads_files) json["corrupt_images"] = event.corrupt.size();
  const auto put = [&](const EvalEvent& eval) {
    if (eval.split == "test") json["test_loss" + eval.suffix()] = number(eval.loss);
    json[eval.split + "_accuracy" + eval.suffix()] = eval.accuracy;
    if (eval.per_pixel()) json[eval.split + "_mean_iou" + eval.suffix()] = number(eval.mean_iou);
  };
  if (!(start_.metric == kAccuracyMetric)) json["metric"] = start_.metric.key;
  if (event.test) put(*event.test);
  if (event.validation) put(*event.validation);
  for (const EvalEvent& other : event.other_evaluations) put(other);
  if (event.test && event.test->classes.size() <= kMostClasses)
    for (const ClassResult& one : event.test->classes) {
      Json result = {{"class", printable(one.name)}, {"accuracy", number(one.accuracy)}};
      if (event.test->per_pixel()) result["iou"] = number(one.iou);
      result["labels"] = one.labels;
      json["classes"].push_back(result);
    }
  if (event.sample_weight >= 0.0) json["sample_weight"] = event.sample_weight;
  if (event.best_step >= 0) {
    json["best_step"] = event.best_step;
    json[std::string("best_validation_") + start_.metric.key] = event.best_validation_score;
  }
  if (log_.lost() > 0) json["lost_lines"] = log_.lost();
  write(json);
  json.erase("event");
  json["name"] = start_.name;
  json["version"] = start_.version;
  json["device"] = start_.device;
  json["communicator"] = start_.communicator;
  json["ranks"] = start_.ranks;
  json["replicas"] = start_.replicas;
  json["batch_per_replica"] = start_.batch_per_replica;
  json["parameters"] = start_.parameters;
  const std::size_t lost = log_.close();
  if (lost > 0) json["lost_lines"] = lost;
  try {
    write_whole(folder_ / "summary.json", json.dump(2) + "\n", "make room");
  } catch (const InputError& error) {
    throw CheckpointError(error.what());
  }
  if (lost > 0 && event.status == "done")  // other ends have their own exit code
    throw CheckpointError(fmt::format("{}: {} lines were lost; the checkpoints are complete",
                                      (folder_ / "metrics.jsonl").string(), lost));
}

}  // namespace syncnorm
