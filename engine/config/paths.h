// Expansion of paths: one rule for every key and option that is a file or folder.
#pragma once

#include <string>

namespace syncnorm::config {

/// Returns `path` with a leading `~` (alone or before a `/`) replaced by the home folder, and
/// `$NAME` and `${NAME}` by environment variables; any other `$` stays. Throws InputError for a
/// variable that is not set, for `~name`, and for an unknown home folder.
std::string expand_path(const std::string& path);

}  // namespace syncnorm::config
