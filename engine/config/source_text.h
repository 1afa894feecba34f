// The bytes of a configuration before they are YAML: reading the file, its size and its encoding.
#pragma once

#include <filesystem>
#include <optional>
#include <string>

#include "engine/config/problems.h"

namespace syncnorm::config {

inline constexpr std::size_t kLongestText = 1 << 20;  // bytes

/// The file's bytes, at most one more than kLongestText. On failure "" and why, as
/// "problem; hint", in `problem`.
std::string read_config_file(const std::filesystem::path& path, std::string& problem);

/// Checks size, encoding and control characters, and removes a byte order mark. Empty when there
/// was a problem.
std::optional<std::string> check_text(std::string text, const SourcePointer& source,
                                      const std::string& key, Problems& problems);

}  // namespace syncnorm::config
