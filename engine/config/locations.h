// Adds locations in the user's files to mistakes that only later parts can find.
#pragma once

#include "base/error.h"
#include "engine/config/load.h"

namespace syncnorm {

/// Runs `action`; an InputError about a key of the configuration (base/error.h) gets the location
/// in front where the user wrote it.
template <class Action>
void with_locations(const LoadedExperiment& loaded, const Action& action) {
  try {
    action();
  } catch (const InputError& error) {
    if (error.key().empty()) throw;
    throw InputError(loaded.at(error.key()) + ": " + error.what());
  }
}

}  // namespace syncnorm
