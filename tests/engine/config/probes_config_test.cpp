// The section `probes`: every key is read, and ranges are kept.
#include <gtest/gtest.h>

#include "base/error.h"
#include "engine/config/load.h"

namespace syncnorm {
namespace {

ProbesConfig probes_of(const std::string& text) {
  return parse_experiment_text(text, "a.yaml").experiment.probes;
}

TEST(ProbesConfig, EveryKeyIsRead) {
  const ProbesConfig p = probes_of(
      "probes: {every_steps: 7, activations: false, gradients: false, landscape: true,\n"
      "  landscape_from: 0.1, landscape_to: 0.5, landscape_points: 3, covariate_shift: true,\n"
      "  signal_to_noise: true, replica_spread: true}\n");
  EXPECT_EQ(p.every_steps, 7);
  EXPECT_FALSE(p.activations);
  EXPECT_FALSE(p.gradients);
  EXPECT_TRUE(p.landscape);
  EXPECT_EQ(p.landscape_from, 0.1);
  EXPECT_EQ(p.landscape_to, 0.5);
  EXPECT_EQ(p.landscape_points, 3);
  EXPECT_TRUE(p.covariate_shift);
  EXPECT_TRUE(p.signal_to_noise);
  EXPECT_TRUE(p.replica_spread);
}

TEST(ProbesConfig, NothingIsMeasuredUnlessAskedFor) {
  EXPECT_EQ(probes_of("{}").every_steps, 0);
  EXPECT_FALSE(probes_of("{}").signal_to_noise);
  EXPECT_FALSE(probes_of("{}").replica_spread);
  EXPECT_EQ(probes_of("{}").landscape_from, 0.05);  // Santurkar et al. 2018
  EXPECT_EQ(probes_of("{}").landscape_to, 0.4);
}

TEST(ProbesConfig, RangesAreKept) {
  for (const char* text : {"probes: {every_steps: -1}\n", "probes: {landscape_from: 0}\n",
                           "probes: {landscape_to: 0}\n", "probes: {landscape_points: 0}\n",
                           "probes: {landscape_points: 1001}\n", "probes: {landscapes: true}\n",
                           "probes: {landscape_from: 0.4, landscape_to: 0.1}\n"})
    EXPECT_THROW(probes_of(text), InputError) << text;
}

}  // namespace
}  // namespace syncnorm
