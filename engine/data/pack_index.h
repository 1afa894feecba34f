// The index of a pack: location, label and checksum of every image.
//
// One file, pack.index, little-endian: the magic; the bytes of a JSON header; the header (format,
// classes, shards with their bytes, samples of each split, and the fingerprint of the packed
// folder, which earlier packs lack); a record of 32 bytes per sample (shard u32, label u32, offset
// u64, length u64, XXH3 u64; training samples first, then test samples, each in the order of the
// packed folder); and the XXH64 of all that.
#pragma once

#include <cstdint>
#include <span>
#include <string>
#include <vector>

namespace syncnorm {

inline constexpr const char* kPackIndexName = "pack.index";

struct PackIndex {
  struct Shard {
    std::string name;
    std::uint64_t bytes = 0;
  };
  struct Sample {
    std::uint32_t shard = 0;
    std::uint32_t label = 0;
    std::uint64_t offset = 0;  // of the image's first byte in the shard
    std::uint64_t length = 0;
    std::uint64_t checksum = 0;  // image_checksum of the image's bytes
  };
  std::vector<std::string> classes;
  std::vector<Shard> shards;
  std::vector<Sample> train, test;
  std::string folder_fingerprint;  // of image_folder.h; "": unknown
};

/// Returns 16 hex digits that depend on the classes, and on label, length and checksum of every
/// image in order, but not on the shards.
std::string content_fingerprint(const PackIndex& index);

std::string pack_index_bytes(const PackIndex& index);

/// Parses an index. Throws InputError, naming `file` and the field, for another format or version,
/// a damaged or truncated file, samples outside their shard, invalid labels, and names outside the
/// folder.
PackIndex parse_pack_index(std::span<const std::uint8_t> bytes, const std::string& file);

}  // namespace syncnorm
