// What lies in a folder instead of the file that was looked for, said so that one knows what to do:
// a slip in the name, an archive that is not unpacked, a sub-folder, another form of the data set.
#pragma once

#include <filesystem>
#include <string>
#include <vector>

namespace syncnorm {

/// One clause, such as "it has train-images.idx3-ubyte: rename it to train-images-idx3-ubyte", "it
/// has only a.txt and b.txt" or "it is empty". `wanted` are the names that are missing; what has
/// one of the names `known` is never taken for another. Never throws for what it finds.
std::string what_lies_in(const std::filesystem::path& folder,
                         const std::vector<std::string>& wanted,
                         const std::vector<std::string>& known = {});

}  // namespace syncnorm
