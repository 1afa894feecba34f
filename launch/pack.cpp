// syncnorm pack: an image folder as tar shards with an index.
#include "engine/data/pack.h"

#include <iostream>

#include <fmt/format.h>

#include "launch/commands.h"

namespace syncnorm {

int run_pack(const CommandLine& line) {
  const PackSummary pack = pack_image_folder(line.file, line.destination, line.shard_bytes);
  std::cout << fmt::format(
      "{}: {} training and {} test images in {} shards, {} bytes, in the order of the folder\n",
      line.destination, pack.train, pack.test, pack.shards, pack.bytes);
  return 0;
}

}  // namespace syncnorm
