// syncnorm pack: converts a folder of images, or of images with masks, to tar shards with an index.
#include "engine/data/pack.h"

#include <iostream>

#include <fmt/format.h>

#include "base/error.h"
#include "base/printable.h"
#include "engine/data/segmentation_folder.h"
#include "launch/commands.h"

namespace syncnorm {

int run_pack(const CommandLine& line, Communicator&) {
  const bool pairs = is_segmentation_folder(line.file);
  if (line.ignore_label && !pairs)
    throw InputError(
        fmt::format("--ignore-label is for images with masks, and {} has no train/images and "
                    "train/masks; leave "
                    "it out",
                    printable_name(line.file)));
  const PackSummary pack =
      pairs ? pack_segmentation_folder(line.file, line.destination, line.shard_bytes,
                                       line.ignore_label.value_or(MasksConfig{}.ignore_label))
            : pack_image_folder(line.file, line.destination, line.shard_bytes);
  if (!pack.left_out.empty())
    std::cerr << fmt::format("syncnorm: {}: {}\n", printable(line.file), pack.left_out);
  std::cout << fmt::format(
      "{}: {} training and {} test images{} of {} classes in {} shards, {} bytes, in the order of "
      "the folder\n",
      printable(line.destination), pack.train, pack.test, pack.per_pixel ? " with masks" : "",
      pack.classes, pack.shards, pack.bytes);
  return 0;
}

}  // namespace syncnorm
