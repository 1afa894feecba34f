// Fuzz targets: every reader of bytes from outside, behind one function each.
//
// A target takes any bytes, and returns whether the reader took them. What they make a reader throw
// as InputError or CheckpointError is an answer; everything else that is thrown, and every broken
// promise of a reader, is a finding.
#pragma once

#include <span>
#include <string_view>

namespace syncnorm::fuzz {

using Target = bool (*)(std::string_view bytes);

struct NamedTarget {
  const char* name;  // also of its folder in tests/fuzz/corpus
  Target run;
  const char* more_seeds;  // a folder of the repository with further valid files, or null
};

/// All targets, in the order of the documentation.
std::span<const NamedTarget> targets();

/// The target of that name. Throws InputError, listing the names, when there is none.
const NamedTarget& find_target(std::string_view name);

/// Ends the process, saying what a reader promised and did not keep.
void promise(bool kept, const char* what);

// targets_config.cpp
bool experiment(std::string_view bytes);
bool override_arguments(std::string_view bytes);  // one a line
bool study(std::string_view bytes);
bool trace(std::string_view bytes);
bool listen_address(std::string_view bytes);
bool fault(std::string_view bytes);
// targets_data.cpp
bool idx(std::string_view bytes);
bool cifar(std::string_view bytes);
// targets_images.cpp
bool image(std::string_view bytes);
bool mask(std::string_view bytes);
bool pack_index(std::string_view bytes);
// targets_checkpoint.cpp
bool safetensors(std::string_view bytes);
bool weights(std::string_view bytes);
bool manifest(std::string_view bytes);
// targets_run.cpp
bool run_log(std::string_view bytes);
bool resumed_log(std::string_view bytes);
bool run_summary(std::string_view bytes);
bool study_list(std::string_view bytes);
bool flight(std::string_view bytes);
bool authorization(std::string_view bytes);

}  // namespace syncnorm::fuzz
