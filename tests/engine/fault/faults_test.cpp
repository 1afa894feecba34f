// Faults are read strictly, belong to one rank, place and step, and happen once.
#include "engine/fault/faults.h"

#include <gtest/gtest.h>

#include <stdexcept>

#include "base/error.h"

namespace syncnorm::test {
namespace {

std::string refusal(const std::string& text) {
  try {
    make_faults({text}, 0);
  } catch (const InputError& error) {
    return error.what();
  }
  return "";
}

TEST(Faults, HappenOnceAtTheirPlaceAndStep) {
  const auto faults = make_faults({"nan@0:3", "skip@0:3:gradient", "eio@0:4:save.2"}, 0);
  EXPECT_EQ(faults->at(FaultPlace::forward, 2), FaultEffect::none);
  EXPECT_EQ(faults->at(FaultPlace::statistics, 3), FaultEffect::none);
  EXPECT_EQ(faults->at(FaultPlace::forward, 3), FaultEffect::nan);
  EXPECT_EQ(faults->at(FaultPlace::forward, 3), FaultEffect::none);
  EXPECT_EQ(faults->at(FaultPlace::gradient, 3), FaultEffect::skip);
  EXPECT_EQ(faults->at(FaultPlace::save, 4, 1), FaultEffect::none);
  EXPECT_EQ(faults->at(FaultPlace::save, 4, 2), FaultEffect::io_error);
}

TEST(Faults, AreOfOneRank) {
  EXPECT_EQ(make_faults({"kill@1:3"}, 0), nullptr);
  EXPECT_EQ(make_faults({}, 0), nullptr);
  EXPECT_NE(make_faults({"kill@1:3"}, 1), nullptr);
}

TEST(Faults, ThrowAndEndTheProcess) {
  EXPECT_THROW(make_faults({"exception@0:0:shutdown"}, 0)->at(FaultPlace::shutdown, 0),
               std::runtime_error);
  const auto dies_of = [](const char* text, int signal) {
    EXPECT_EXIT(make_faults({text}, 0)->at(FaultPlace::forward, 1),
                ::testing::KilledBySignal(signal), "fault ");
  };
  dies_of("kill@0:1", SIGKILL);
  EXPECT_EXIT(make_faults({"exit@0:1"}, 0)->at(FaultPlace::forward, 1),
              ::testing::ExitedWithCode(0), "fault exit@0:1");
}

TEST(Faults, AreReadStrictly) {
  const auto refused = [](const char* text, const char* why) {
    EXPECT_EQ(refusal(text).find(std::string("--fault ") + text + ": " + why), 0u) << refusal(text);
  };
  refused("", "no such kind");
  refused("melt@0:1", "no such kind");
  refused("kill", "the rank is not a number");
  refused("kill@-1:1", "the rank is not a number");
  refused("kill@0", "the step is not a number");
  refused("kill@0:1x", "the step is not a number");
  refused("kill@0:1:nowhere", "no such place");
  refused("kill@0:1:forward.2", "only save has numbers");
  refused("kill@0:1:save.x", "only save has numbers");
  refused("nan@0:1:save", "this kind cannot happen there");
  refused("skip@0:1:forward", "this kind cannot happen there");
  refused("flip@0:1:forward", "this kind cannot happen there");
  refused("torn@0:1:update", "this kind cannot happen there");
}

}  // namespace
}  // namespace syncnorm::test
