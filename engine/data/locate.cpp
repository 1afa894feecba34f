// Searches for a data set's folder; see locate.h.
#include "engine/data/locate.h"

#include <fmt/format.h>

#include <algorithm>
#include <cstdlib>

#include "base/error.h"
#include "base/printable.h"
#include "engine/data/near_miss.h"

namespace syncnorm {
namespace {

/// Replaces a leading "~"; empty if there is no home folder.
std::string expand_home(const std::string& folder) {
  if (folder.empty() || folder[0] != '~') return folder;
  const char* home = std::getenv("HOME");
  return home ? home + folder.substr(1) : std::string();
}

bool has_any(const std::filesystem::path& folder, const std::vector<std::string>& names) {
  return std::any_of(names.begin(), names.end(), [&folder](const std::string& name) {
    std::error_code error;  // an unreadable folder counts as one without the file
    return std::filesystem::exists(folder / name, error);
  });
}

std::vector<std::string> candidates(const DatasetFiles& files, const std::string& path) {
  std::vector<std::string> folders;
  if (path == "auto") {
    for (const std::string& folder : files.folders) {
      if (std::string expanded = expand_home(folder); !expanded.empty()) {
        folders.push_back(std::move(expanded));
      }
    }
  } else {
    folders.push_back(path);
    if (!files.subfolder.empty()) {
      folders.push_back((std::filesystem::path(path) / files.subfolder).string());
    }
  }
  return folders;
}

}  // namespace

std::filesystem::path locate_dataset(const DatasetFiles& files, const std::string& path) {
  const std::vector<std::string> folders = candidates(files, path);
  for (const std::string& folder : folders) {
    if (has_any(folder, files.markers)) return folder;
  }
  std::string places;
  for (const std::string& folder : folders) {
    std::error_code error;
    places += (places.empty() ? "" : ", ") + printable_name(folder);
    if (std::filesystem::exists(folder, error))
      places += fmt::format(" ({})", what_lies_in(folder, files.markers, files.others));
  }
  throw InputError(fmt::format("data.path: {} not found: no {} in {}; {}", files.name,
                               fmt::join(files.markers, " or "), places, files.hint));
}

}  // namespace syncnorm
