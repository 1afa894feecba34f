// Where a run begins: fresh, or from a checkpoint that fits it.
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
};

/// `resume` is "" (a used run folder is refused), "auto" (the newest valid checkpoint, fresh if
/// there is none) or a checkpoint folder. Rank 0 reads, all ranks get the same. Throws InputError
/// or CheckpointError, the same on every rank.
std::optional<ResumePoint> find_resume_point(Communicator& comm, const LoadedExperiment& loaded,
                                             const Dataset& dataset, const std::string& resume,
                                             const CheckpointFolder& checkpoints);

}  // namespace syncnorm
