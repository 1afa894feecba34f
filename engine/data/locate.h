// Finds the files of a data set: in data.path, or in the usual folders when it is `auto`.
#pragma once

#include <filesystem>
#include <string>
#include <vector>

namespace syncnorm {

/// The files of one data set, and the folders where they usually are.
struct DatasetFiles {
  std::string name;                  // as in data.dataset
  std::vector<std::string> markers;  // a folder with any of these files contains the data set
  std::vector<std::string> folders;  // usual folders, in the order tried; "~" is the home folder
  std::string subfolder;             // folder inside the archive, also tried below data.path; or ""
  std::string hint;                  // how to get the files
  std::vector<std::string> others;   // the other files of the set
};

/// Returns the folder of `files`; `path` is data.path. Throws InputError that lists the folders
/// searched, what they contain instead, and what to do.
std::filesystem::path locate_dataset(const DatasetFiles& files, const std::string& path);

}  // namespace syncnorm
