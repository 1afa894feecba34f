// Labelled textures made from the seed, so that everything can run without files.
//
// A class is a grating with its own direction, frequency and, in colour, hue. A sample has its own
// phase, contrast, brightness, jitter and noise, so no single pixel determines the class, and a
// small CNN has something to learn. Directions span only a quarter turn, so a mirrored image
// belongs to no other class. All arithmetic is in integers, so the bytes are the same on every
// machine.
#pragma once

#include <cstdint>

#include "engine/config/experiment.h"
#include "engine/data/dataset.h"

namespace syncnorm {

/// The split; part of the random key, so the two share no random numbers.
enum class SyntheticSplit : std::uint64_t { train = 0, test = 1 };

/// Throws InputError unless a split has at most kMaxDataBytes; all sizes must be positive.
void check_split_size(const char* section, int samples, int height, int width, int channels);

/// Returns `samples` images in random order, with class counts that differ by at most one. A pure
/// function of its arguments. Throws InputError for sizes that are not positive or exceed
/// kMaxDataBytes.
ImageSet make_synthetic(const SyntheticConfig& config, SyntheticSplit split, std::uint64_t seed);

}  // namespace syncnorm
