// The target file through which a Prometheus with file_sd_configs finds a run. It exists while the
// run does.
#pragma once

#include <filesystem>
#include <string>
#include <vector>

#include "engine/config/listen_address.h"

namespace syncnorm {

class TargetFile {
 public:
  /// Writes folder/syncnorm-HOST-PID.json atomically, after removing the files of this host's
  /// processes that no longer exist. `run` becomes a label that Prometheus drops after relabeling.
  /// Throws InputError when the folder cannot be created or written.
  TargetFile(const std::filesystem::path& folder, const std::vector<ListenAddress>& addresses,
             const std::string& run);
  /// Removes the file.
  ~TargetFile();
  TargetFile(const TargetFile&) = delete;
  TargetFile& operator=(const TargetFile&) = delete;

  const std::filesystem::path& path() const { return path_; }

 private:
  std::filesystem::path path_;
};

}  // namespace syncnorm
