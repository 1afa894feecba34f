// The target file by which a Prometheus with file_sd_configs finds a run: there while the run is.
#pragma once

#include <filesystem>
#include <string>
#include <vector>

#include "engine/config/listen_address.h"

namespace syncnorm {

class TargetFile {
 public:
  /// Writes folder/syncnorm-HOST-PID.json, atomically, after removing those of processes of this
  /// host that are gone. `run` is a label that Prometheus drops after relabeling. Throws InputError
  /// when the folder cannot be made or written.
  TargetFile(const std::filesystem::path& folder, const std::vector<ListenAddress>& addresses,
             const std::string& run);
  /// Removes it.
  ~TargetFile();
  TargetFile(const TargetFile&) = delete;
  TargetFile& operator=(const TargetFile&) = delete;

  const std::filesystem::path& path() const { return path_; }

 private:
  std::filesystem::path path_;
};

}  // namespace syncnorm
