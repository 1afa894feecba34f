// See evaluation_size.h.
#include "engine/data/evaluation_size.h"

#include <fmt/format.h>

#include "base/printable.h"

namespace syncnorm {
namespace {

int side(int largest, int training) {
  constexpr int kMultiple = 32;
  return largest <= training ? training : (largest + kMultiple - 1) / kMultiple * kMultiple;
}

}  // namespace

void EvaluationSize::add_too_large(int height, int width, const std::string& name) {
  mistakes_.add(fmt::format(
      "{}: is {}×{} pixels, and evaluations read whole images; scale it and its mask to at most {} "
      "along a side, or set data.images.evaluation_limit: {}",
      printable_name(name), width, height, config_.evaluation_limit, std::max(height, width)));
}

std::pair<int, int> EvaluationSize::sides() const {
  mistakes_.expect_none();
  return {side(height_, config_.height), side(width_, config_.width)};
}

}  // namespace syncnorm
