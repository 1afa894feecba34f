// Help for the configuration's tests: folders that vanish, and the text of what was thrown.
#pragma once

#include <gtest/gtest.h>

#include <filesystem>
#include <stdexcept>
#include <string>
#include <vector>

#include "base/error.h"
#include "engine/config/load.h"
#include "tests/temporary_folder.h"

namespace syncnorm {

class TemporaryFolder : public test::TemporaryFolder {
 public:
  /// The text with this folder's path, and the slash after it, taken out.
  std::string without_folder(std::string text) const {
    const std::string prefix = path().string() + "/";
    for (std::size_t at = text.find(prefix); at != std::string::npos; at = text.find(prefix)) {
      text.erase(at, prefix.size());
    }
    return text;
  }
};

/// what() of the InputError that `action` throws; "no error" when it throws none.
template <typename Action>
std::string error_of(const Action& action) {
  try {
    action();
  } catch (const InputError& error) {
    EXPECT_EQ(error.exit_code(), ExitCode::bad_input);
    return error.what();
  }
  return "no error";
}

inline std::string text_error(const std::string& text,
                              const std::vector<std::string>& overrides = {}) {
  return error_of([&] { parse_experiment_text(text, "a.yaml", overrides); });
}

}  // namespace syncnorm
