// The numbers published on the board, as plain structs of doubles: one per run, written by rank 0,
// and one per rank. Counters count from the start of this launch.
#pragma once

#include <array>
#include <limits>
#include <span>
#include <type_traits>

#include "engine/train/observer.h"

namespace syncnorm {

inline constexpr double kUnknown = std::numeric_limits<double>::quiet_NaN();

/// Upper bounds of the step duration's buckets, in seconds; one more bucket counts longer steps.
inline constexpr std::array<double, 13> kStepBuckets = {
    0.0005, 0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 5.0, 30.0};

/// The state of a run; RunValues::outcome.
enum class Outcome { running, done, stopped, diverged, failed };
inline constexpr std::array<const char*, 5> kOutcomes = {"running", "done", "stopped", "diverged",
                                                         "failed"};

/// The evaluations that a run may have: that of the first statistics, without a name, and others.
inline constexpr std::array<const char*, 7> kEvaluations = {
    "", "running", "precise", "batch", "test_set", "mixed", "ema"};

/// The numbers of the last evaluation of a split.
struct SplitValues {
  double loss = kUnknown, accuracy = kUnknown, mean_iou = kUnknown;
};

/// Classes beyond these have no metrics.
inline constexpr std::size_t kClasses = 32;
struct ClassValues {
  double accuracy = kUnknown, iou = kUnknown;
};

struct RunValues {
  double step = 0.0, epoch = 0.0, total_steps = 0.0;
  double loss = kUnknown, accuracy = kUnknown, learning_rate = kUnknown;
  double samples = 0.0, samples_per_second = kUnknown;
  double step_seconds = 0.0;
  std::array<double, kStepBuckets.size() + 1> step_buckets{};
  std::array<std::array<SplitValues, kEvaluations.size()>, 2> evaluations{};  // test, validation
  std::array<ClassValues, kClasses> classes{};  // test, first statistics
  double evaluation_seconds = 0.0;
  double checkpoints = 0.0, checkpoint_seconds = 0.0, checkpoint_bytes = 0.0;
  double checkpoint_time = 0.0;  // Unix time, of the last success
  double checkpoint_failures = 0.0;
  double restarts = 0.0;
  double start_time = 0.0;            // Unix time, of this launch
  double first_start_time = 0.0;      // Unix time, of the run's first launch
  double earlier_step_seconds = 0.0;  // of earlier launches, in steps that count
  double outcome = 0.0;
};

struct RankValues {
  double steps = 0.0, step_seconds = 0.0, data_seconds = 0.0, work_seconds = 0.0;
  double recent_work_seconds = 0.0;  // of one step, smoothed
  PhaseSums exposed{}, in_flight{}, bytes{};
  double gradient_norm = kUnknown;
  double arena_bytes = 0.0, peak_memory_bytes = 0.0;
  double publish_cpu_seconds = 0.0;  // of the training thread, spent in publishing
};

template <class Record>
inline constexpr std::size_t kCount = sizeof(Record) / sizeof(double);

template <class Record>
std::span<const double> as_doubles(const Record& record) {
  static_assert(std::is_trivially_copyable_v<Record> && sizeof(Record) % sizeof(double) == 0);
  return {reinterpret_cast<const double*>(&record), kCount<Record>};
}

template <class Record>
std::span<double> as_doubles(Record& record) {
  static_assert(std::is_trivially_copyable_v<Record> && sizeof(Record) % sizeof(double) == 0);
  return {reinterpret_cast<double*>(&record), kCount<Record>};
}

}  // namespace syncnorm
