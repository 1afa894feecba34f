// Folders of images: DIR/train/CLASS/*.jpg and DIR/test/CLASS/*.jpg, or val instead of test.
//
// Classes are numbered by name, and samples are ordered by class and file name (both by bytes), so
// the order is the files' alone. Listing opens no image. What is no image of a class is left out,
// and counted; an image that cannot be had (a link to nothing) is an error.
#pragma once

#include <filesystem>
#include <string>
#include <vector>

#include "engine/data/dataset.h"
#include "engine/data/left_out.h"

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
  LeftOut left_out;
};

/// Throws InputError that names all mistakes: no such folder, a class without images or in one
/// split only, entries that cannot be looked at.
FolderListing list_image_folder(const std::filesystem::path& folder);

/// 16 hex digits: names and sizes of all files.
std::string folder_fingerprint(const FolderListing& listing);

/// Fills both splits, the fingerprint and the notes.
void load_image_folder(const DataConfig& config, Dataset& dataset);

}  // namespace syncnorm
