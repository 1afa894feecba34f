// The name of a study's run, made of its settings: readable, unique, and safe as a file name.
#pragma once

#include <set>
#include <string>
#include <utility>
#include <vector>

namespace syncnorm::config {

/// "norm=syncbn,seed=1". Characters that a file name should not have become '-', and a hash of the
/// settings is then appended, so that a name depends on its own run only. `taken` grows by the
/// name.
std::string unique_run_name(const std::vector<std::pair<std::string, std::string>>& settings,
                            std::set<std::string>& taken);

}  // namespace syncnorm::config
