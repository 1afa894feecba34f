// A table of bad configurations, each with its whole message.
#pragma once

#include <gtest/gtest.h>

#include <vector>

#include "tests/engine/config/config_test_files.h"

namespace syncnorm {

struct BadConfig {
  const char* text;
  const char* message;
};

inline void expect_messages(const std::vector<BadConfig>& table) {
  for (const BadConfig& bad : table) {
    EXPECT_EQ(text_error(bad.text), bad.message) << "for the text:\n" << bad.text;
  }
}

}  // namespace syncnorm
