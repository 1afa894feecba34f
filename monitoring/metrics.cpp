// See metrics.h. The order: the training thread's work in a step, then serving, then start and end.
#include "monitoring/metrics.h"

#include <sys/resource.h>
#include <unistd.h>

#include <algorithm>
#include <cassert>
#include <ctime>

#include <fmt/format.h>
#include <fmt/ranges.h>

#include "base/clock.h"
#include "base/error.h"
#include "comm/agreement.h"
#include "engine/config/locations.h"
#include "engine/config/names.h"
#include "monitoring/pushgateway.h"
#include "monitoring/run_history.h"
#include "monitoring/whole_file.h"

namespace syncnorm {
namespace {

constexpr double kSmoothing = 0.05;      // weight of the newest step
constexpr double kPushDeadline = 5.0;    // seconds
constexpr int kStepsBetweenMemory = 64;  // peak memory changes rarely, and costs a system call
enum Block : std::size_t { kRunBlock, kRankBlock, kLayerBlock };

double thread_seconds() {
  timespec clock = {};
  clock_gettime(CLOCK_THREAD_CPUTIME_ID, &clock);
  return static_cast<double>(clock.tv_sec) + 1e-9 * static_cast<double>(clock.tv_nsec);
}

double peak_memory_bytes() {
  rusage usage = {};
  getrusage(RUSAGE_SELF, &usage);
  return 1024.0 * static_cast<double>(usage.ru_maxrss);
}

void smooth(double& average, double value, bool first) {
  average = first ? value : average + kSmoothing * (value - average);
}

RunLabels labels_of(const Experiment& e, int ranks, Labels build) {
  const auto text = [](auto word) { return std::string(name_of(word)); };
  return {{{"run", e.run_dir},
           {"name", e.name},
           {"model", e.model.layers.empty() ? text(e.model.architecture) : "layers"},
           {"dataset", text(e.data.dataset)},
           {"norm", text(e.norm.kind)},
           {"synced_replicas", std::to_string(e.norm.synced_replicas)},
           {"replicas", std::to_string(e.replicas)},
           {"batch_per_replica", std::to_string(e.batch_per_replica)},
           {"ranks", std::to_string(ranks)},
           {"device", text(e.device)},
           {"reduction", text(e.reduction)},
           {"seed", std::to_string(e.seed)}},
          std::move(build)};
}

Outcome outcome_of(const std::string& status) {
  for (std::size_t o = 0; o < kOutcomes.size(); ++o)
    if (status == kOutcomes[o]) return static_cast<Outcome>(o);
  return Outcome::failed;
}

}  // namespace

/// Adds the CPU time of its scope to the cost of publishing.
class Metrics::Publishing {
 public:
  explicit Publishing(RankValues& rank) : rank_(rank), begin_(thread_seconds()) {}
  ~Publishing() { rank_.publish_cpu_seconds += thread_seconds() - begin_; }
  Publishing(const Publishing&) = delete;
  Publishing& operator=(const Publishing&) = delete;

 private:
  RankValues& rank_;
  double begin_;
};

Metrics::Metrics(const LoadedExperiment& loaded, Communicator& comm, Labels build, Say say)
    : loaded_(loaded),
      config_(loaded.experiment.metrics),
      run_dir_(loaded.experiment.run_dir),
      comm_(comm),
      labels_(labels_of(loaded.experiment, comm.size(), std::move(build))),
      say_(std::move(say)) {
  agree(comm_, [&] {
    if (config_.user.empty()) return;
    with_locations(loaded_,
                   [&] { auth_ = BasicAuth::from_file(config_.user, config_.password_file); });
  });
  run_.start_time = run_.first_start_time = run_.checkpoint_time = unix_seconds();
}

void Metrics::on_step(const StepEvent& event) {
  const Publishing cost(rank_);
  smooth(run_.samples_per_second, static_cast<double>(event.samples) / event.seconds,
         run_.samples == 0.0);
  run_.step = static_cast<double>(event.step);
  run_.epoch = static_cast<double>(event.epoch);
  run_.loss = event.loss;
  run_.accuracy = event.accuracy;
  run_.learning_rate = event.lr;
  run_.samples += static_cast<double>(event.samples);
  run_.step_seconds += event.seconds;
  const auto bucket = std::lower_bound(kStepBuckets.begin(), kStepBuckets.end(), event.seconds);
  run_.step_buckets[static_cast<std::size_t>(bucket - kStepBuckets.begin())] += 1.0;
  publish_run();
}

void Metrics::on_rank_step(const RankStepEvent& event) {
  const Publishing cost(rank_);
  smooth(rank_.recent_work_seconds, event.work_seconds(), rank_.steps == 0.0);
  if (static_cast<int>(rank_.steps) % kStepsBetweenMemory == 0)
    rank_.peak_memory_bytes = peak_memory_bytes();
  rank_.steps += 1.0;
  rank_.step_seconds += event.seconds;
  rank_.data_seconds += event.data_seconds;
  rank_.work_seconds += event.work_seconds();
  for (std::size_t p = 0; p < kPhases; ++p) {
    rank_.exposed[p] += event.exposed[p];
    rank_.in_flight[p] += event.in_flight[p];
    rank_.bytes[p] += event.bytes[p];
  }
  if (event.gradient_measured) rank_.gradient_norm = event.gradient_norm;
  publish_rank();
}

void Metrics::on_layers(std::int64_t step, std::span<const LayerSums> layers) {
  const Publishing cost(rank_);
  pack_layers(step, layers, layer_block_);
  board_->own(kLayerBlock).write(layer_block_);
}

void Metrics::on_eval(const EvalEvent& event) {
  const std::size_t split = event.split == "validation" ? 1 : 0;
  const std::string name = event.word();
  const auto at = std::find(kEvaluations.begin(), kEvaluations.end(), name);
  assert(at != kEvaluations.end());
  run_.evaluations[split][static_cast<std::size_t>(at - kEvaluations.begin())] = {
      event.loss, event.accuracy, event.per_pixel() ? event.mean_iou : kUnknown};
  if (split == 0 && event.first)
    for (std::size_t k = 0; k < std::min(event.classes.size(), kClasses); ++k)
      run_.classes[k] = {event.classes[k].accuracy,
                         event.per_pixel() ? event.classes[k].iou : kUnknown};
  run_.evaluation_seconds += event.seconds;
  publish_run();
}

void Metrics::on_checkpoint(const CheckpointEvent& event) {
  run_.checkpoints += 1.0;
  run_.checkpoint_seconds += event.seconds;
  run_.checkpoint_bytes = static_cast<double>(event.bytes);
  run_.checkpoint_time = unix_seconds();
  publish_run();
}

void Metrics::on_checkpoint_failed(const CheckpointFailedEvent&) {
  run_.checkpoint_failures += 1.0;
  publish_run();
}

/// Writes the run's numbers into rank 0's own block, which its node's first rank (itself) reads.
void Metrics::publish_run() {
  if (board_ != nullptr) board_->own(kRunBlock).write(as_doubles(std::as_const(run_)));
}

void Metrics::publish_rank() { board_->own(kRankBlock).write(as_doubles(std::as_const(rank_))); }

std::string Metrics::text() {
  const std::lock_guard lock(reading_);
  Families families;
  add_info(families, labels_);
  RunValues run;
  if (board_->block(0, kRunBlock).read(as_doubles(run))) add_run(families, run, unix_seconds());
  std::vector<RankReading> ranks;
  for (std::size_t r = 0; r < board_->ranks().size(); ++r) {
    RankReading reading{board_->ranks()[r], {}};
    // A block cannot be read when its rank died during a write.
    if (!board_->block(static_cast<int>(r), kRankBlock).read(as_doubles(reading.values))) continue;
    ranks.push_back(reading);
  }
  add_ranks(families, ranks);
  if (!layer_infos_.empty()) add_layers(families, layers());
  const Exporter* serving = serving_.load();
  add_cost(families, serving != nullptr ? serving->cost() : ServingCost(), ranks);
  return exposition(families);
}

/// Returns the readings of the last step that all ranks of the node have sampled.
std::vector<LayerReading> Metrics::layers() {
  std::vector<std::vector<double>> blocks;
  for (std::size_t r = 0; r < board_->ranks().size(); ++r) {
    const SharedBlock block = board_->block(static_cast<int>(r), kLayerBlock);
    std::vector<double> values(block.count());
    if (block.read(values)) blocks.push_back(std::move(values));
  }
  if (blocks.size() == board_->ranks().size())
    if (auto readings = read_layers(layer_infos_, blocks)) last_layers_ = std::move(*readings);
  return last_layers_;
}

void Metrics::on_start(const StartEvent& event) {
  const RunHistory history = read_run_history(event.run_dir);
  run_.total_steps = static_cast<double>(event.total_steps);
  run_.step = static_cast<double>(event.first_step);
  run_.restarts = history.restarts;
  run_.earlier_step_seconds = history.step_seconds;
  if (history.first_start > 0.0)
    run_.first_start_time = std::min(run_.start_time, history.first_start);
  publish_run();
}

void Metrics::on_rank_start(const RankStartEvent& event) {
  layer_infos_ = event.layers;
  last_layers_ = unknown_layers(layer_infos_);
  layer_block_.resize(layer_block_size(layer_infos_));
  board_ = std::make_unique<NodeBoard>(
      comm_, std::vector<std::size_t>{kCount<RunValues>, kCount<RankValues>, layer_block_.size()});
  if (!board_->problem().empty())
    say_(fmt::format("rank {}: {}; its metrics are not shown", comm_.rank(), board_->problem()));
  rank_.arena_bytes = static_cast<double>(event.arena_bytes);
  rank_.peak_memory_bytes = peak_memory_bytes();
  publish_rank();
  if (comm_.rank() == 0) publish_run();
  comm_.all_gather_text("");  // so that the first scrape has all ranks
  started_ = true;
  agree(comm_, [&] {
    if (config_.prometheus && board_->is_first()) with_locations(loaded_, [&] { serve(); });
  });
}

void Metrics::serve() {
  const auto warn_or_end = [&](const Error& error) {
    const std::string message = error.what();
    if (config_.required)
      throw InputError(ConfigKey{"metrics.listen"},
                       message + "; free it, or choose another, or port 0");
    say_(fmt::format("metrics.listen: {}; the run goes on without an exporter", message));
  };
  try {
    auto exporter = std::make_unique<Exporter>(config_.listen, auth_, [this] { return text(); });
    if (const std::vector<std::string>& refused = exporter->refused(); !refused.empty()) {
      const std::string message = fmt::format("cannot listen on {}", fmt::join(refused, "; "));
      if (config_.required) throw InputError(message);
      say_(fmt::format("metrics.listen: {}; the other addresses are served", message));
    }
    exporter_ = std::move(exporter);
    serving_.store(exporter_.get());
  } catch (const Error& error) {
    return warn_or_end(error);
  }
  if (config_.file_sd_dir.empty()) return;
  try {
    target_ = std::make_unique<TargetFile>(config_.file_sd_dir, exporter_->addresses(), run_dir_);
  } catch (const Error& error) {
    say_(fmt::format("metrics.file_sd_dir: {}", error.what()));
  }
}

void Metrics::on_end(const EndEvent& event) {
  ended_ = true;
  leave_outcome(outcome_of(event.status));
}

/// Publishes what remains after the exporter is gone. Failures here do not fail a finished run.
void Metrics::leave_outcome(Outcome outcome) {
  run_.outcome = static_cast<double>(outcome);
  rank_.peak_memory_bytes = peak_memory_bytes();
  publish_rank();
  publish_run();
  const auto attempt = [&](const char* key, const auto& action) {
    try {
      action();
    } catch (const std::exception& error) {
      say_(fmt::format("{}: {}", key, error.what()));
    }
  };
  if (!config_.textfile.empty())
    attempt("metrics.textfile",
            [&] { write_whole(config_.textfile, text(), "choose another metrics.textfile"); });
  if (!config_.pushgateway.empty())
    attempt("metrics.pushgateway", [&] {
      push_metrics(config_.pushgateway, "syncnorm", run_dir_, text(), kPushDeadline);
    });
  // Someone is scraping and should see the outcome. A stopped run has no time to wait.
  const bool may_wait = outcome == Outcome::done || outcome == Outcome::diverged;
  if (may_wait && exporter_ != nullptr && exporter_->cost().scrapes > 0.0 && config_.linger > 0.0)
    exporter_->wait_for_scrape(config_.linger);
}

Metrics::~Metrics() {
  try {
    if (started_ && !ended_ && comm_.rank() == 0) leave_outcome(Outcome::failed);
  } catch (...) {  // a destructor never throws; what could not be published is lost
  }
  target_.reset();
}

}  // namespace syncnorm
