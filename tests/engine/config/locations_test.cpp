// An error carries the key that it is about; the place comes from where the user wrote the key.
#include "engine/config/locations.h"

#include <gtest/gtest.h>

namespace syncnorm {
namespace {

std::string message_of(const std::string& yaml, const InputError& thrown) {
  const LoadedExperiment loaded = parse_experiment_text(yaml, "a.yaml");
  try {
    with_locations(loaded, [&] { throw InputError(thrown); });
  } catch (const InputError& error) {
    return error.what();
  }
  return "nothing was thrown";
}

TEST(Locations, AKeysLocationIsPutInFront) {
  EXPECT_EQ(message_of("seed: 2\nnorm: {kind: group, groups: 3}\n",
                       InputError(ConfigKey{"norm.groups"}, "3 does not fit; give 4")),
            "a.yaml:2:29: norm.groups: 3 does not fit; give 4");
}

TEST(Locations, ASectionsLocationIsThatOfItsFirstKey) {
  EXPECT_EQ(message_of("model:\n  architecture: resnet8\n",
                       InputError(ConfigKey{"model"}, "layer 'a': is wrong")),
            "a.yaml:2:17: model: layer 'a': is wrong");
}

TEST(Locations, ADefaultsLocationIsTheFile) {
  EXPECT_EQ(message_of("seed: 2\n", InputError(ConfigKey{"norm.groups"}, "3 does not fit")),
            "a.yaml: norm.groups: 3 does not fit");
}

TEST(Locations, WhatTheWordsOfAMessageAreDoesNotMatter) {
  EXPECT_EQ(message_of("norm: {groups: 3}\n", InputError("norm.groups: no key is carried")),
            "norm.groups: no key is carried");
  const InputError error(ConfigKey{"metrics.listen"}, "in use");
  EXPECT_EQ(error.key(), "metrics.listen");
  EXPECT_EQ(error.message(), "in use");
  EXPECT_STREQ(error.what(), "metrics.listen: in use");
}

}  // namespace
}  // namespace syncnorm
