// The bytes of a configuration before YAML parsing: reads the file, checks its size and encoding.
#pragma once

#include <filesystem>
#include <optional>
#include <string>

#include "engine/config/problems.h"

namespace syncnorm::config {

inline constexpr std::size_t kLongestText = 1 << 20;  // bytes

/// Returns the file's bytes, at most kLongestText + 1 of them. On failure returns "" and sets
/// `problem` to "problem; hint".
std::string read_config_file(const std::filesystem::path& path, std::string& problem);

/// Checks size, encoding and control characters, and removes a byte order mark. Returns nothing
/// after reporting a problem.
std::optional<std::string> check_text(std::string text, const SourcePointer& source,
                                      const std::string& key, Problems& problems);

}  // namespace syncnorm::config
