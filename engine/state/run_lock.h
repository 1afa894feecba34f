// A run folder belongs to one live run.
#pragma once

#include <filesystem>

namespace syncnorm {

/// Makes the folder where it is not there. Throws InputError.
void create_run_folder(const std::filesystem::path& run_dir);

/// Held by rank 0 while it trains; it ends with the process, however that ends. A file system
/// without locks is trusted.
class RunLock {
 public:
  /// `run_dir` must exist. Throws InputError when another process has it, naming the process.
  explicit RunLock(const std::filesystem::path& run_dir);
  ~RunLock();
  RunLock(const RunLock&) = delete;
  RunLock& operator=(const RunLock&) = delete;

 private:
  int fd_ = -1;
};

}  // namespace syncnorm
