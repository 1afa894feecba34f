// See run_record.h.
#include "engine/train/run_record.h"

#include <algorithm>
#include <numeric>

namespace syncnorm {
namespace {

constexpr std::size_t kRecentLosses = 100;

}  // namespace

void RunRecord::reserve(std::int64_t steps) {
  rates_.reserve(static_cast<std::size_t>(steps));
  recent_losses_.reserve(kRecentLosses);
}

void RunRecord::add(const StepEvent& step) {
  step_seconds_ += step.seconds;
  reduction_seconds_ += step.reduction_seconds;
  data_seconds_ += step.data_seconds;
  rates_.push_back(static_cast<double>(step.samples) / step.seconds);
  if (recent_losses_.size() == kRecentLosses) recent_losses_.erase(recent_losses_.begin());
  recent_losses_.push_back(step.loss);
}

void RunRecord::add(const EvalEvent& evaluation) {
  if (evaluation.sample_weight >= 0.0) sample_weight_ = evaluation.sample_weight;
  if (!evaluation.first) {
    const auto same = std::find_if(others_.begin(), others_.end(), [&](const EvalEvent& other) {
      return other.split == evaluation.split && other.word() == evaluation.word();
    });
    if (same == others_.end())
      others_.push_back(evaluation);
    else
      *same = evaluation;
    return;
  }
  if (evaluation.split == "test") {
    last_test_ = evaluation;
    return;
  }
  last_validation_ = evaluation;
  if (evaluation.score() > best_score_) set_best(evaluation.step, evaluation.score());
}

void RunRecord::set_best(std::int64_t step, double score) {
  best_step_ = step;
  best_score_ = score;
}

EndEvent RunRecord::end() const {
  EndEvent end;
  end.seconds = step_seconds_;
  end.evaluation_seconds = evaluation_seconds_;
  end.checkpoint_seconds = checkpoint_seconds_;
  if (!rates_.empty()) {
    std::vector<double> rates = rates_;
    std::nth_element(rates.begin(), rates.begin() + static_cast<long>(rates.size() / 2),
                     rates.end());
    end.samples_per_second = rates[rates.size() / 2];
    end.reduction_share = reduction_seconds_ / step_seconds_;
    end.data_share = data_seconds_ / step_seconds_;
    end.final_loss = std::accumulate(recent_losses_.begin(), recent_losses_.end(), 0.0) /
                     static_cast<double>(recent_losses_.size());
  }
  end.test = last_test_;
  end.validation = last_validation_;
  if (last_test_) end.metric = last_test_->metric();
  end.other_evaluations = others_;
  end.sample_weight = sample_weight_;
  end.best_validation_score = best_score_;
  end.best_step = best_step_;
  return end;
}

}  // namespace syncnorm
