// Where the files of a data set are: data.path, or the usual places when it is `auto`.
#pragma once

#include <filesystem>
#include <string>
#include <vector>

namespace syncnorm {

/// The files of one data set and where they usually lie.
struct DatasetFiles {
  std::string name;                  // as in data.dataset
  std::vector<std::string> markers;  // a folder that has any of these files is the data set's
  std::vector<std::string> folders;  // usual places, in the order tried; "~" is the home folder
  std::string subfolder;             // the archive's own folder, also tried below data.path; or ""
  std::string hint;                  // how to get the files
  std::vector<std::string> others;   // the other files of the set
};

/// The folder of `files`. `path` is data.path. Throws InputError that lists the places looked at,
/// what lies there instead and what to do.
std::filesystem::path locate_dataset(const DatasetFiles& files, const std::string& path);

}  // namespace syncnorm
