// The metric that decides which of two evaluations is better: accuracy, or with labels per pixel
// the mean intersection over union. Its key is a part of names in logs and summaries.
#pragma once

#include <string_view>

namespace syncnorm {

struct Metric {
  const char* key;    // "test_" + key in summary.json
  const char* title;  // in tables and figures
  bool operator==(const Metric& other) const {
    return std::string_view(key) == std::string_view(other.key);
  }
};

inline constexpr Metric kAccuracyMetric = {"accuracy", "accuracy"};
inline constexpr Metric kMeanIouMetric = {"mean_iou", "mIoU"};

inline const Metric& metric_of_key(std::string_view key) {
  return key == kMeanIouMetric.key ? kMeanIouMetric : kAccuracyMetric;
}

}  // namespace syncnorm
