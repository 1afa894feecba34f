// Labelled textures made from the seed, so that everything runs with no file at all.
//
// A class is a grating: its direction, its frequency and, in colour, its hue. A sample adds its own
// phase, contrast, brightness, jitter and noise, so no single pixel tells the class, and a small
// CNN has something to learn. Directions span a quarter turn only: a mirrored image is of no other
// class. All arithmetic is in integers, so the bytes are the same on every machine.
#pragma once

#include <cstdint>

#include "engine/config/experiment.h"
#include "engine/data/dataset.h"

namespace syncnorm {

/// Which split; part of the random key, so the two share no numbers.
enum class SyntheticSplit : std::uint64_t { train = 0, test = 1 };

/// `samples` images, each class equally often (to one), in random order. A pure function of its
/// arguments. Throws InputError for sizes that are not positive or exceed kMaxDataBytes.
ImageSet make_synthetic(const SyntheticConfig& config, SyntheticSplit split, std::uint64_t seed);

}  // namespace syncnorm
