// Checkpoints on disk: folders step-N that are there whole or not at all.
//
// A folder is written under a temporary name, every file is synced, the manifest with all checksums
// comes last, and a rename makes it visible. Nothing in it knows of ranks. Only rank 0 uses this.
#pragma once

#include <cstdint>
#include <filesystem>
#include <map>
#include <string>
#include <vector>

#include "base/error.h"
#include "engine/fault/faults.h"

namespace syncnorm {

/// A checkpoint that the system does not let be read (no permission, a disk that fails): nothing is
/// known of its worth, so none before it is taken in its place.
struct UnreadableError : CheckpointError {
  using CheckpointError::CheckpointError;
};

struct Checkpoint {
  std::int64_t step = 0;                // updates completed
  std::int64_t epoch = 0;               // epochs begun, as in step events
  std::int64_t sample_position = 0;     // samples consumed of the current epoch
  std::string config;                   // resolved YAML
  std::string data_fingerprint;         // Dataset::fingerprint
  std::string data_folder_fingerprint;  // Dataset::folder_fingerprint; may be ""
  std::int64_t best_step = -1;          // of the best validation accuracy so far
  double best_accuracy = -1.0;
  bool last = false;                         // written at the end of training
  std::map<std::string, std::string> files;  // name -> bytes, without the manifest
};

/// Reads and verifies one checkpoint folder. Throws CheckpointError, saying what is wrong.
Checkpoint read_checkpoint(const std::filesystem::path& folder);

/// The checkpoints of one run.
class CheckpointFolder {
 public:
  /// `faults` may be null.
  CheckpointFolder(std::filesystem::path folder, int keep, Faults* faults = nullptr)
      : folder_(std::move(folder)), keep_(keep), faults_(faults) {}

  /// Writes step-N and prunes: the newest `keep` stay, and step 0, last ones and the best one
  /// always. Returns the folder and its bytes. Throws CheckpointError when the file system refuses.
  std::pair<std::filesystem::path, std::int64_t> save(const Checkpoint& checkpoint);

  /// The newest checkpoint that is valid; why newer ones were passed over goes to `passed_over`.
  /// Empty path: there is none. Throws UnreadableError.
  std::filesystem::path newest_valid(std::vector<std::string>& passed_over) const;

  /// Removes what an interrupted save left behind, and puts a folder back that was moved aside.
  void clean() const;

  /// Steps of the folders present, ascending.
  std::vector<std::int64_t> steps() const;

 private:
  void prune(std::int64_t best_step) const;

  std::filesystem::path folder_;
  int keep_;
  Faults* faults_;
};

}  // namespace syncnorm
