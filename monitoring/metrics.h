// The metrics of a run: every rank publishes its numbers on the board of its node; the first rank
// of each node serves them, and rank 0 adds what belongs to the whole run.
//
// An observer only writes a few numbers to memory. Serving, finding and pushing are done by other
// threads, or after the last step.
#pragma once

#include <atomic>
#include <functional>
#include <memory>
#include <mutex>
#include <string>
#include <vector>

#include "comm/communicator.h"
#include "engine/config/load.h"
#include "engine/train/observer.h"
#include "monitoring/exporter.h"
#include "monitoring/file_sd.h"
#include "monitoring/metric_families.h"
#include "monitoring/node_board.h"

namespace syncnorm {

class Metrics final : public Observer, public RankObserver {
 public:
  using Say = std::function<void(const std::string& warning)>;

  /// One on every rank, when metrics.any(). `say` shows a warning to the user. Collective; throws,
  /// on every rank, when the password file is not as it should be. `loaded` and `comm` must outlive
  /// it.
  Metrics(const LoadedExperiment& loaded, Communicator& comm, Labels build, Say say);
  /// A run that did not tell its end has failed: the textfile says so.
  ~Metrics() override;

  void on_start(const StartEvent& event) override;
  void on_step(const StepEvent& event) override;
  void on_eval(const EvalEvent& event) override;
  void on_checkpoint(const CheckpointEvent& event) override;
  void on_checkpoint_failed(const CheckpointFailedEvent& event) override;
  void on_end(const EndEvent& event) override;

  /// Collective; starts the exporter. Throws on every rank when one that is required cannot listen.
  void on_rank_start(const RankStartEvent& event) override;
  void on_rank_step(const RankStepEvent& event) override;
  void on_layers(std::int64_t step, std::span<const LayerSums> layers) override;

  /// What a scrape gets now. Of the first rank of a node; by one thread at a time.
  std::string text();

 private:
  class Publishing;

  void serve();
  void publish_run();
  void publish_rank();
  std::vector<LayerReading> layers();
  void leave_outcome(Outcome outcome);

  const LoadedExperiment& loaded_;
  const MetricsConfig& config_;
  std::string run_dir_;
  Communicator& comm_;
  RunLabels labels_;
  Say say_;

  std::optional<BasicAuth> auth_;
  RunValues run_;
  RankValues rank_;
  bool started_ = false, ended_ = false;

  std::unique_ptr<NodeBoard> board_;
  std::vector<LayerInfo> layer_infos_;
  std::vector<double> layer_block_;  // of this rank

  std::mutex reading_;  // text() is called by serving threads, and at the end
  std::vector<LayerReading> last_layers_;
  std::unique_ptr<TargetFile> target_;
  std::atomic<const Exporter*> serving_{nullptr};  // once it is made: its threads begin before
  std::unique_ptr<Exporter> exporter_;             // last: its threads use all of the above
};

}  // namespace syncnorm
