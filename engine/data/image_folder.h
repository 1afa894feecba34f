// Folders of images: DIR/train/CLASS/*.jpg and DIR/test/CLASS/*.jpg, or val instead of test.
//
// Classes are numbered by name, and samples are ordered by class and file name (both by bytes), so
// the order is the files' alone. Listing opens no image.
#pragma once

#include <filesystem>
#include <string>
#include <vector>

#include "engine/data/dataset.h"

namespace syncnorm {

/// One split as it is listed.
struct ImageListing {
  struct File {
    std::string name;    // CLASS/FILE, below the folder
    std::uint64_t size;  // bytes
    std::int32_t label;
  };
  std::filesystem::path folder;
  std::vector<std::string> classes;
  std::vector<File> files;
};

struct FolderListing {
  ImageListing train, test;
};

/// Throws InputError: no such folder, a class without images or in one split only.
FolderListing list_image_folder(const std::filesystem::path& folder);

/// Fills both splits, mean, deviation and the fingerprint (names and sizes of all files).
void load_image_folder(const DataConfig& config, Dataset& dataset);

}  // namespace syncnorm
