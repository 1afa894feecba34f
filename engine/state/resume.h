// Decides where a run begins: fresh, or from a compatible checkpoint.
#pragma once

#include <optional>
#include <string>

#include "comm/communicator.h"
#include "engine/config/load.h"
#include "engine/data/dataset.h"
#include "engine/state/checkpoint.h"

namespace syncnorm {

struct ResumePoint {
  Checkpoint checkpoint;
  std::string folder;
  DeviceKind device = DeviceKind::cpu;  // on which the checkpoint was made
};

/// Returns the point from which to resume, if any. `resume` is "" (a used run folder is an error),
/// "auto" (the newest valid checkpoint, or a fresh start if there is none) or a checkpoint folder.
/// The checkpoint may be of another kind of device, but not of another precision or reduction.
/// Rank 0 reads; all ranks get the same result. Throws InputError or CheckpointError, the same on
/// every rank.
std::optional<ResumePoint> find_resume_point(Communicator& comm, const LoadedExperiment& loaded,
                                             const Dataset& dataset, const std::string& resume,
                                             const CheckpointFolder& checkpoints);

}  // namespace syncnorm
