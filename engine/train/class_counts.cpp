// See class_counts.h.
#include "engine/train/class_counts.h"

#include <cmath>
#include <limits>

namespace syncnorm {
namespace {

double ratio(std::int64_t part, std::int64_t whole) {
  if (whole == 0) return std::numeric_limits<double>::quiet_NaN();
  return static_cast<double>(part) / static_cast<double>(whole);
}

}  // namespace

ClassCounts::ClassCounts(int classes)
    : correct(static_cast<std::size_t>(classes)),
      labelled(static_cast<std::size_t>(classes)),
      predicted(static_cast<std::size_t>(classes)) {}

double ClassCounts::accuracy(int k) const {
  const auto i = static_cast<std::size_t>(k);
  return ratio(correct[i], labelled[i]);
}

double ClassCounts::iou(int k) const {
  const auto i = static_cast<std::size_t>(k);
  return ratio(correct[i], labelled[i] + predicted[i] - correct[i]);
}

double ClassCounts::mean_iou() const {
  double sum = 0.0;
  int counted = 0;
  for (int k = 0; k < classes(); ++k) {
    const double one = iou(k);
    if (std::isnan(one)) continue;
    sum += one;
    ++counted;
  }
  return sum / counted;
}

std::vector<double> ClassCounts::values() const {
  std::vector<double> all;
  for (const std::vector<std::int64_t>* counts : {&correct, &labelled, &predicted})
    all.insert(all.end(), counts->begin(), counts->end());
  return all;
}

ClassCounts ClassCounts::from_values(const std::vector<double>& values) {
  const std::size_t classes = values.size() / 3;
  ClassCounts counts(static_cast<int>(classes));
  for (std::size_t k = 0; k < classes; ++k) {
    counts.correct[k] = static_cast<std::int64_t>(values[k]);
    counts.labelled[k] = static_cast<std::int64_t>(values[classes + k]);
    counts.predicted[k] = static_cast<std::int64_t>(values[2 * classes + k]);
  }
  return counts;
}

}  // namespace syncnorm
