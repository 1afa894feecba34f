// How a classifier does on each class, in integers, so that any division of the samples among ranks
// gives the same numbers. What is counted are images, or pixels where every pixel has a label.
#pragma once

#include <cstdint>
#include <vector>

namespace syncnorm {

struct ClassCounts {
  /// Per class: predictions that are right, labels, and predictions.
  std::vector<std::int64_t> correct, labelled, predicted;

  ClassCounts() = default;
  explicit ClassCounts(int classes);

  int classes() const { return static_cast<int>(correct.size()); }
  void add(int label, int prediction) {
    ++labelled[static_cast<std::size_t>(label)];
    ++predicted[static_cast<std::size_t>(prediction)];
    if (label == prediction) ++correct[static_cast<std::size_t>(label)];
  }
  /// Returns the share of the class's labels that are predicted; nan without a label.
  double accuracy(int k) const;
  /// Returns intersection over union: correct / (labelled + predicted − correct); nan where the
  /// class is neither a label nor predicted.
  double iou(int k) const;
  /// Returns the mean over the classes that have an IoU; nan without any.
  double mean_iou() const;

  /// The counts as doubles, which hold them exactly: [3, classes]; and from those.
  std::vector<double> values() const;
  static ClassCounts from_values(const std::vector<double>& values);
};

}  // namespace syncnorm
