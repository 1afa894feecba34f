// Writing the files of a checkpoint with POSIX calls, so that every sync and its error is seen.
//
// Each call that changes the disk is a write boundary: a run may end before it, or the disk refuse.
#pragma once

#include <cstdint>
#include <filesystem>
#include <string>

#include "engine/fault/faults.h"

namespace syncnorm {

/// The files of one checkpoint. All members throw CheckpointError, naming the path, when the file
/// system refuses.
class CheckpointFiles {
 public:
  /// `faults` may be null.
  CheckpointFiles(Faults* faults, std::int64_t step) : faults_(faults), step_(step) {}

  void create_folder(const std::filesystem::path& folder);
  /// A new file, synced. Three boundaries: it is created, written, synced.
  void write(const std::filesystem::path& path, const std::string& bytes);
  void sync_folder(const std::filesystem::path& folder);
  void rename(const std::filesystem::path& from, const std::filesystem::path& to);
  void remove_all(const std::filesystem::path& folder);

 private:
  /// Before a change of the disk that is called `action` in errors.
  FaultEffect boundary(const std::filesystem::path& path, const char* action);
  void write_all(int fd, const std::filesystem::path& path, std::string bytes);

  Faults* faults_;
  std::int64_t step_;
  int boundaries_ = 0;
};

}  // namespace syncnorm
