// See landscape.h.
#include "engine/probe/landscape.h"

#include <algorithm>
#include <cmath>

namespace syncnorm {

double norm_of(std::span<const float> a) {
  double sum = 0.0;
  for (const float v : a) sum += static_cast<double>(v) * static_cast<double>(v);
  return std::sqrt(sum);
}

double distance_of(std::span<const float> a, std::span<const float> b) {
  double sum = 0.0;
  for (std::size_t i = 0; i < a.size(); ++i) {
    const double difference = static_cast<double>(a[i]) - static_cast<double>(b[i]);
    sum += difference * difference;
  }
  return std::sqrt(sum);
}

Landscape measure_landscape(std::span<const float> x, const LossAndGradient& at_x,
                            const std::vector<double>& steps, const EvaluateFunction& evaluate) {
  Landscape landscape;
  landscape.alpha = steps;
  landscape.loss_low = landscape.loss_high = at_x.loss;
  const double length = norm_of(at_x.gradient);
  std::vector<float> moved(x.begin(), x.end());
  for (const double alpha : steps) {
    // Frozen parameters come after those with a gradient, and do not move.
    for (std::size_t i = 0; i < at_x.gradient.size(); ++i)
      moved[i] = static_cast<float>(static_cast<double>(x[i]) -
                                    alpha * static_cast<double>(at_x.gradient[i]));
    const LossAndGradient there = evaluate(moved);
    const double change = distance_of(at_x.gradient, there.gradient);
    landscape.loss.push_back(there.loss);
    landscape.predictiveness.push_back(change);
    landscape.loss_low = std::min(landscape.loss_low, there.loss);
    landscape.loss_high = std::max(landscape.loss_high, there.loss);
    const double moved_by = alpha * length;
    if (moved_by == 0.0) continue;
    landscape.smoothness = std::max(landscape.smoothness, change / moved_by);
    landscape.lipschitz =
        std::max(landscape.lipschitz, std::abs(there.loss - at_x.loss) / moved_by);
  }
  return landscape;
}

std::vector<CovariateShift> measure_covariate_shift(std::span<const float> before,
                                                    std::span<const float> after,
                                                    std::span<const float> gradient,
                                                    std::span<const std::vector<Range>> layers,
                                                    const EvaluateFunction& evaluate) {
  std::vector<CovariateShift> shifts;
  std::vector<float> mixed(before.begin(), before.end());
  for (std::size_t i = 0; i < layers.size(); ++i) {
    // No layer precedes the first one: its G' equals its G.
    const std::vector<float> there =
        i == 0 ? std::vector<float>(gradient.begin(), gradient.end()) : evaluate(mixed).gradient;
    double g = 0.0, h = 0.0, both = 0.0, distance = 0.0;
    for (const Range& range : layers[i]) {
      for (std::size_t p = range.begin; p < range.end; ++p) {
        const auto a = static_cast<double>(gradient[p]), b = static_cast<double>(there[p]);
        g += a * a;
        h += b * b;
        both += a * b;
        distance += (a - b) * (a - b);
        mixed[p] = after[p];  // for later layers
      }
    }
    shifts.push_back({std::sqrt(g), std::sqrt(distance), both / (std::sqrt(g) * std::sqrt(h))});
  }
  return shifts;
}

}  // namespace syncnorm
