// Statistics of the groups of one sample, from those of its channels, for group norms on the CPU.
#pragma once

#include "kernels/norm_channel.h"

namespace syncnorm::cpu {

/// Fills mean [2, C] and inv_std [C], which repeat a group's values for each of its channels, from
/// the mean and M2 of every channel. Without `centered` the mean is 0.
inline void group_statistics(int pixels, int channels, int groups, bool centered, double eps,
                             const double* mean, const double* m2, float* mean_out,
                             float* inv_std_out) {
  const int width = channels / groups;
  const double count = static_cast<double>(pixels) * width;
  for (int first = 0; first < channels; first += width) {
    double group_mean = 0.0;
    for (int c = first; c < first + width; ++c) group_mean += mean[c];
    group_mean = centered ? group_mean / width : 0.0;
    double group_m2 = 0.0;
    for (int c = first; c < first + width; ++c) {
      const double delta = mean[c] - group_mean;
      group_m2 += m2[c] + pixels * delta * delta;
    }
    const double inv_std = inverse_std(group_m2 / count, eps);
    for (int c = first; c < first + width; ++c) {
      split_mean(group_mean, mean_out[c], mean_out[channels + c]);
      inv_std_out[c] = static_cast<float>(inv_std);
    }
  }
}

}  // namespace syncnorm::cpu
