// Files that readers see whole or not at all.
#pragma once

#include <filesystem>
#include <string>

namespace syncnorm {

/// Replaces `path` by way of a file beside it. Throws InputError "PATH: cannot be written (why);
/// `hint`".
void write_whole(const std::filesystem::path& path, const std::string& text,
                 const std::string& hint);

}  // namespace syncnorm
