// The report page: one HTML file with the data and the script that draws it, which needs no
// network.
#pragma once

#include <filesystem>
#include <string>

namespace syncnorm {

/// Returns the page for a run folder, a study folder or a folder of runs. Throws InputError for any
/// other folder.
std::string report_page(const std::filesystem::path& folder);

}  // namespace syncnorm
