// Describes what a folder contains instead of the wanted file, with a hint: a misspelled name, an
// archive that is not unpacked, a sub-folder, another format of the data set.
#pragma once

#include <filesystem>
#include <string>
#include <vector>

namespace syncnorm {

/// Returns one clause, such as "it has train-images.idx3-ubyte: rename it to
/// train-images-idx3-ubyte", "it has only a.txt and b.txt" or "it is empty". `wanted` are the
/// missing names; a file with a name in `known` is never taken for a misspelled one. Never throws
/// for the folder's content.
std::string what_lies_in(const std::filesystem::path& folder,
                         const std::vector<std::string>& wanted,
                         const std::vector<std::string>& known = {});

}  // namespace syncnorm
