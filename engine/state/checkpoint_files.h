// Writes the files of a checkpoint with POSIX calls, so that every sync and its error is seen.
//
// Each call that changes the disk is a write boundary, at which a fault may end the run or make the
// disk fail.
#pragma once

#include <cstdint>
#include <filesystem>
#include <string>

#include "engine/fault/faults.h"

namespace syncnorm {

/// The files of one checkpoint. All members throw CheckpointError with the path when the file
/// system fails.
class CheckpointFiles {
 public:
  /// `faults` may be null.
  CheckpointFiles(Faults* faults, std::int64_t step) : faults_(faults), step_(step) {}

  void create_folder(const std::filesystem::path& folder);
  /// Writes and syncs a new file, with three boundaries: create, write, sync.
  void write(const std::filesystem::path& path, const std::string& bytes);
  void sync_folder(const std::filesystem::path& folder);
  void rename(const std::filesystem::path& from, const std::filesystem::path& to);
  void remove_all(const std::filesystem::path& folder);

 private:
  /// Marks a boundary before a change of the disk; errors call the change `action`.
  FaultEffect boundary(const std::filesystem::path& path, const char* action);
  void write_all(int fd, const std::filesystem::path& path, std::string bytes);

  Faults* faults_;
  std::int64_t step_;
  int boundaries_ = 0;
};

}  // namespace syncnorm
