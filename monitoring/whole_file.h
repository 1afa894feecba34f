// Writes files atomically: readers see either the whole file or none.
#pragma once

#include <filesystem>
#include <string>

namespace syncnorm {

/// Replaces `path` by renaming a temporary file beside it. Throws InputError "PATH: cannot be
/// written (why); `hint`".
void write_whole(const std::filesystem::path& path, const std::string& text,
                 const std::string& hint);

}  // namespace syncnorm
