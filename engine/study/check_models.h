// Finds the runs of a study that cannot be trained, before the first one starts.
#pragma once

#include "engine/config/study.h"

namespace syncnorm {

/// Builds the model of every run, without its data. `has_weights`: the runs begin with weights from
/// a file. Throws one InputError that names each run whose model or norm is impossible, and why.
void check_models(const Study& study, bool has_weights);

}  // namespace syncnorm
