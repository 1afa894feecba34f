// Packs: an image folder as a few tar files (shards) that other tools read, with an index of ours.
//
// Shards are plain ustar in WebDataset's convention: sample K is K.jpg (or .png) and K.cls, its
// label as text. Samples lie in the order of the folder, so training without shuffle reads them
// from front to back; shuffled, every rank reads its own samples by their places in the index.
#pragma once

#include <cstdint>
#include <filesystem>
#include <string>

#include "engine/data/dataset.h"

namespace syncnorm {

struct PackSummary {
  std::uint64_t train = 0, test = 0;  // samples
  std::uint64_t classes = 0, shards = 0, bytes = 0;
  std::string left_out;  // LeftOut::text() of the folder
};

/// Packs the image folder `from` into the new folder `to`; a shard is closed before it would exceed
/// `shard_bytes`, unless by its only sample. Everything is written to `to`.partial and renamed when
/// it is whole and synced; what an interrupted pack left there is replaced. Images are not decoded.
/// Throws InputError: no image folder, `to` exists, a file cannot be read or written, or changed
/// since the folder was listed.
PackSummary pack_image_folder(const std::filesystem::path& from, const std::filesystem::path& to,
                              std::uint64_t shard_bytes);

/// Fills both splits, mean, deviation and the fingerprint. Throws InputError for an index that
/// cannot be used, and for shards that are missing or of another size.
void load_pack(const DataConfig& config, Dataset& dataset);

}  // namespace syncnorm
