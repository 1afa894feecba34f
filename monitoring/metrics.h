// The metrics of a run: every rank publishes its numbers on its node's board, the first rank of
// each node serves them, and rank 0 adds those of the whole run.
//
// An observer only writes a few numbers to memory. Other threads serve them; pushing happens after
// the last step.
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

  /// Constructed on every rank, when metrics.any(). `say` shows a warning to the user. Collective.
  /// Throws on every rank when the password file is unusable. `loaded` and `comm` must outlive this
  /// object.
  Metrics(const LoadedExperiment& loaded, Communicator& comm, Labels build, Say say);
  /// Publishes the outcome `failed` (textfile, Pushgateway) when on_end() was not called.
  ~Metrics() override;

  void on_start(const StartEvent& event) override;
  void on_step(const StepEvent& event) override;
  void on_eval(const EvalEvent& event) override;
  void on_checkpoint(const CheckpointEvent& event) override;
  void on_checkpoint_failed(const CheckpointFailedEvent& event) override;
  void on_end(const EndEvent& event) override;

  /// Starts the exporter. Collective. Throws on every rank when a required exporter cannot listen.
  void on_rank_start(const RankStartEvent& event) override;
  void on_rank_step(const RankStepEvent& event) override;
  void on_layers(std::int64_t step, std::span<const LayerSums> layers) override;

  /// Returns the text for a scrape. Call it on the first rank of a node only.
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

  std::mutex reading_;  // guards text(), which serving threads call, and this one at the end
  std::vector<LayerReading> last_layers_;
  std::unique_ptr<TargetFile> target_;
  std::atomic<const Exporter*> serving_{nullptr};  // set last: its threads start before that
  std::unique_ptr<Exporter> exporter_;  // declared last: its threads use all members above
};

}  // namespace syncnorm
