// What a run tells those who watch it. The engine knows none of them: the run log, the console and
// metrics are observers in monitoring/.
//
// Events come on rank 0, in order, from the training thread; an observer must not block it. All
// seconds are wall time on rank 0.
#pragma once

#include <cstdint>
#include <string>

namespace syncnorm {

struct StartEvent {
  std::string name;
  std::string run_dir;
  std::string device;  // description with instruction set and library versions
  std::string communicator;
  std::string version;  // of syncnorm
  std::string model;
  int ranks = 1;
  int replicas = 1;
  int batch_per_replica = 1;
  std::int64_t first_step = 0;  // updates already done (resumed), else 0
  std::int64_t total_steps = 0;
  std::int64_t steps_per_epoch = 1;
  std::int64_t train_samples = 0;
  std::int64_t parameters = 0;   // trained values
  std::int64_t arena_bytes = 0;  // on rank 0
  std::string config_yaml;       // the resolved configuration
};

struct StepEvent {
  std::int64_t step = 0;   // updates completed, the first is 1
  std::int64_t epoch = 0;  // counted from 1: the epoch that the step belongs to
  double loss = 0.0;       // mean over the global batch, before the update
  double accuracy = 0.0;   // of the global batch, before the update
  double lr = 0.0;
  std::int64_t samples = 0;        // of this global batch
  double seconds = 0.0;            // of this step, with waiting for data
  double gradient_norm = -1.0;     // global 2-norm before clipping; negative: not computed
  double data_seconds = 0.0;       // of `seconds`, spent waiting for data
  double reduction_seconds = 0.0;  // of `seconds`, spent in exposed reductions
};

struct EvalEvent {
  std::int64_t step = 0;
  std::int64_t epoch = 0;
  std::string split;  // "test" or "validation"
  double loss = 0.0;
  double accuracy = 0.0;  // in [0, 1]
  double seconds = 0.0;
};

struct CheckpointEvent {
  std::int64_t step = 0;
  std::string path;  // folder
  std::int64_t bytes = 0;
  double seconds = 0.0;
};

struct ResumeEvent {
  std::int64_t step = 0;  // updates completed by the checkpoint
  std::string path;
};

struct EndEvent {
  std::string status;   // "done" or "diverged"
  std::string message;  // why, when not done
  std::int64_t step = 0;
  double seconds = 0.0;             // of all steps of this launch
  double samples_per_second = 0.0;  // median step of this launch
  double reduction_share = 0.0;     // of step time, in exposed reductions
  double data_share = 0.0;          // of step time, waiting for data
  double final_loss = 0.0;          // mean over the last steps, at most 100
  double test_loss = 0.0;
  double test_accuracy = -1.0;  // last evaluation; negative: none
  double best_validation_accuracy = -1.0;
  std::int64_t best_step = -1;  // of the best validation accuracy
};

class Observer {
 public:
  virtual ~Observer() = default;
  virtual void on_start(const StartEvent&) {}
  virtual void on_resume(const ResumeEvent&) {}
  virtual void on_step(const StepEvent&) {}
  virtual void on_eval(const EvalEvent&) {}
  virtual void on_checkpoint(const CheckpointEvent&) {}
  virtual void on_end(const EndEvent&) {}
};

}  // namespace syncnorm
