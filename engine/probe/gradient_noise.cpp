// See gradient_noise.h.
#include "engine/probe/gradient_noise.h"

namespace syncnorm {

std::vector<GradientNoise> measure_gradient_noise(const HalfGradient& first,
                                                  const HalfGradient& second,
                                                  std::span<const std::vector<Range>> layers) {
  std::vector<GradientNoise> found;
  for (const std::vector<Range>& ranges : layers) {
    double both = 0.0, distance = 0.0;
    for (const Range& range : ranges) {
      for (std::size_t p = range.begin; p < range.end; ++p) {
        const auto a = static_cast<double>(first.gradient[p]);
        const auto b = static_cast<double>(second.gradient[p]);
        both += a * b;
        distance += (a - b) * (a - b);
      }
    }
    const double noise = distance / (1.0 / first.samples + 1.0 / second.samples);
    found.push_back({both, noise, both * (first.samples + second.samples) / noise});
  }
  return found;
}

}  // namespace syncnorm
