// A folder for readers that want files, gone with the process, and what counts as an answer.
#pragma once

#include "base/error.h"
#include "tests/temporary_folder.h"

namespace syncnorm::fuzz {

using Scratch = test::TemporaryFolder;

/// Runs `read`; a refusal is an answer. Returns whether it was none.
template <class Read>
bool answered(const Read& read) {
  try {
    read();
  } catch (const Error&) {
    return false;
  }
  return true;
}

}  // namespace syncnorm::fuzz
