// Checkpoints on disk: folders step-N that exist completely or not at all.
//
// A folder is written under a temporary name and every file is synced; the manifest with all
// checksums comes last, and a rename makes the folder visible. Its content does not depend on the
// number of ranks. Only rank 0 uses this.
#pragma once

#include <cstdint>
#include <filesystem>
#include <map>
#include <string>
#include <vector>

#include "base/error.h"
#include "engine/fault/faults.h"
#include "engine/state/input_description.h"

namespace syncnorm {

/// A checkpoint that the system cannot read (no permission, a failing disk). Its value is unknown,
/// so no older one may replace it.
struct UnreadableError : CheckpointError {
  using CheckpointError::CheckpointError;
};

struct Checkpoint {
  std::int64_t step = 0;                     // updates completed
  std::int64_t epoch = 0;                    // epochs started, as in step events
  std::int64_t sample_position = 0;          // samples consumed of the current epoch
  std::string config;                        // resolved YAML
  std::string data_fingerprint;              // Dataset::fingerprint
  std::string data_folder_fingerprint;       // Dataset::folder_fingerprint; may be ""
  std::int64_t best_step = -1;               // with the best validation score so far
  double best_score = -1.0;                  // accuracy, or mIoU with labels per pixel
  InputDescription input;                    // not known in checkpoints of earlier versions
  bool last = false;                         // written at the end of training
  std::map<std::string, std::string> files;  // name -> bytes, except the manifest
};

/// Reads and verifies a checkpoint folder. Throws CheckpointError that describes the damage.
Checkpoint read_checkpoint(const std::filesystem::path& folder);

/// The checkpoints of one run.
class CheckpointFolder {
 public:
  /// `faults` may be null.
  CheckpointFolder(std::filesystem::path folder, int keep, Faults* faults = nullptr)
      : folder_(std::move(folder)), keep_(keep), faults_(faults) {}

  /// Writes step-N and prunes: keeps the newest `keep` checkpoints, and always step 0, last ones
  /// and the best one. Returns the folder and its size in bytes. Throws CheckpointError when the
  /// file system fails.
  std::pair<std::filesystem::path, std::int64_t> save(const Checkpoint& checkpoint);

  /// Returns the newest valid checkpoint, or an empty path if there is none. Adds the reasons why
  /// newer ones were skipped to `passed_over`. Throws UnreadableError.
  std::filesystem::path newest_valid(std::vector<std::string>& passed_over) const;

  /// Removes the remains of an interrupted save, and restores a folder that was moved aside.
  void clean() const;

  /// Returns the steps of the existing folders, ascending.
  std::vector<std::int64_t> steps() const;

 private:
  void prune(std::int64_t best_step) const;

  std::filesystem::path folder_;
  int keep_;
  Faults* faults_;
};

}  // namespace syncnorm
