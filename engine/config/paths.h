// Paths as people write them: one rule for every key and option that names a file or folder.
#pragma once

#include <string>

namespace syncnorm::config {

/// `path` with a leading `~` (alone or before a `/`) replaced by the home folder, and `$NAME` and
/// `${NAME}` by the variables of the environment; any other `$` stays. Throws InputError for a
/// variable that is not set, for `~name`, and for a home folder that is not known.
std::string expand_path(const std::string& path);

}  // namespace syncnorm::config
