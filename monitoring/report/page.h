// The report page: one HTML file that needs no network, with the data and the program that draws
// it.
#pragma once

#include <filesystem>
#include <string>

namespace syncnorm {

/// The page of a run folder, a study folder or a folder of runs. Throws InputError when the folder
/// is none of them.
std::string report_page(const std::filesystem::path& folder);

}  // namespace syncnorm
