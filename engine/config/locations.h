// Adds locations in the user's files to mistakes that are found after loading.
#pragma once

#include "base/error.h"
#include "engine/config/load.h"

namespace syncnorm {

/// Runs `action`. If it throws an InputError about a key of the configuration (base/error.h), adds
/// the location of the key before the message.
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
