// The size of what evaluations read where pixels have labels: whole images of any size, in one.
#pragma once

#include <algorithm>
#include <string>
#include <utility>

#include "engine/config/experiment.h"
#include "engine/data/folder_lister.h"

namespace syncnorm {

class EvaluationSize {
 public:
  explicit EvaluationSize(const ImagesConfig& config) : config_(config) {}

  /// Adds an image; `name` returns its name.
  template <class Name>
  void add(int height, int width, const Name& name) {
    if (std::max(height, width) > config_.evaluation_limit) add_too_large(height, width, name());
    height_ = std::max(height_, height);
    width_ = std::max(width_, width);
  }

  /// Returns height and width: the largest of all images, rounded up to a multiple of 32, so that
  /// networks that halve a side up to five times can read it; but that of training, which the
  /// network reads anyway, if no image is larger. Throws InputError that names the images that
  /// exceed data.images.evaluation_limit.
  std::pair<int, int> sides() const;

 private:
  void add_too_large(int height, int width, const std::string& name);

  const ImagesConfig& config_;
  int height_ = 0, width_ = 0;
  Mistakes mistakes_;
};

}  // namespace syncnorm
