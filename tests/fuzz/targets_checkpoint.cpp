// Weights and checkpoints of others.
#include <algorithm>
#include <string>
#include <vector>

#include "engine/state/checkpoint.h"
#include "engine/state/safetensors.h"
#include "engine/state/weights_file.h"
#include "tests/fuzz/scratch.h"
#include "tests/fuzz/targets.h"

namespace syncnorm::fuzz {

bool safetensors(std::string_view bytes) {
  std::vector<TensorView> tensors;
  if (!answered([&] { tensors = parse_safetensors(bytes, "fuzz.safetensors"); })) return false;
  const std::string again = write_safetensors(tensors);
  const std::vector<TensorView> reread = parse_safetensors(again, "again");
  const auto same = [](const TensorView& a, const TensorView& b) {
    return a.name == b.name && a.dtype == b.dtype && a.shape == b.shape && a.bytes == b.bytes;
  };
  promise(std::equal(tensors.begin(), tensors.end(), reread.begin(), reread.end(), same),
          "tensors that were read are written and read to the same");
  return true;
}

bool weights(std::string_view bytes) {
  static const Scratch folder;
  const std::filesystem::path path = folder.write("weights.safetensors", bytes);
  std::string read;
  if (!answered([&] { read = read_weights(path.string()); })) return false;
  promise(read == bytes, "weights are the bytes of their file");
  return true;
}

bool manifest(std::string_view bytes) {
  static const Scratch folder;
  folder.write("model.safetensors", "m");  // with the checksum that the seeds have
  folder.write("manifest.json", bytes);
  Checkpoint read;
  if (!answered([&] { read = read_checkpoint(folder.path()); })) return false;
  for (const auto& [name, content] : read.files)
    promise(name == "manifest.json" || (name == "model.safetensors" && content == "m"),
            "a checkpoint is made of the files of its folder");
  return true;
}

}  // namespace syncnorm::fuzz
