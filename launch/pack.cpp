// syncnorm pack: converts an image folder to tar shards with an index.
#include "engine/data/pack.h"

#include <iostream>

#include <fmt/format.h>

#include "base/printable.h"
#include "launch/commands.h"

namespace syncnorm {

int run_pack(const CommandLine& line, Communicator&) {
  const PackSummary pack = pack_image_folder(line.file, line.destination, line.shard_bytes);
  if (!pack.left_out.empty())
    std::cerr << fmt::format("syncnorm: {}: {}\n", printable(line.file), pack.left_out);
  std::cout << fmt::format(
      "{}: {} training and {} test images of {} classes in {} shards, {} bytes, in the order of "
      "the folder\n",
      printable(line.destination), pack.train, pack.test, pack.classes, pack.shards, pack.bytes);
  return 0;
}

}  // namespace syncnorm
