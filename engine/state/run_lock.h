// The lock of a run folder, which only one process may use at a time.
#pragma once

#include <filesystem>

namespace syncnorm {

/// Creates the folder if it does not exist. Throws InputError.
void create_run_folder(const std::filesystem::path& run_dir);

/// The lock that rank 0 holds while it trains. The system releases it when the process ends, for
/// whatever reason. On a file system without locks it is assumed to be free.
class RunLock {
 public:
  /// Takes the lock; `run_dir` must exist. Throws InputError that names the process that holds it.
  explicit RunLock(const std::filesystem::path& run_dir);
  ~RunLock();
  RunLock(const RunLock&) = delete;
  RunLock& operator=(const RunLock&) = delete;

 private:
  int fd_ = -1;
};

}  // namespace syncnorm
