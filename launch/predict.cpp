// syncnorm predict: writes the classes that a checkpoint predicts for images.
#include <algorithm>
#include <filesystem>
#include <iostream>
#include <map>

#include <fmt/format.h>

#include "base/error.h"
#include "base/printable.h"
#include "engine/data/byte_reader.h"
#include "engine/data/png_write.h"
#include "engine/state/checkpoint.h"
#include "engine/train/predictor.h"
#include "launch/commands.h"
#include "launch/session.h"
#include "monitoring/whole_file.h"

namespace syncnorm {
namespace {

namespace fs = std::filesystem;
constexpr const char* kTable = "predictions.csv";

/// Returns the checkpoint, or a run's newest one.
Checkpoint checkpoint_in(const fs::path& path) {
  if (!fs::is_directory(path / "checkpoints")) return read_checkpoint(path);
  std::vector<std::string> passed_over;
  const fs::path newest = CheckpointFolder(path / "checkpoints", 2).newest_valid(passed_over);
  for (const std::string& reason : passed_over)
    std::cerr << fmt::format("syncnorm: passed over: {}\n", printable(reason));
  if (newest.empty())
    throw CheckpointError(fmt::format("{}: the run has no usable checkpoint", path.string()));
  return read_checkpoint(newest);
}

/// Returns the file for every image's mask. Throws InputError where two images have one, or where a
/// file is there already.
std::vector<fs::path> outputs_of(const std::vector<std::string>& images, const fs::path& folder,
                                 bool per_pixel) {
  std::vector<fs::path> outputs;
  std::map<fs::path, std::string> taken;
  for (const std::string& image : images) {
    const fs::path output =
        folder / (per_pixel ? fs::path(image).stem().string() + ".png" : std::string(kTable));
    if (const auto [other, fresh] = taken.emplace(output, image); !fresh && per_pixel)
      throw InputError(
          fmt::format("{} and {} would have the same mask, {}; predict them into two folders",
                      other->second, image, output.string()));
    if (fs::exists(output))
      throw InputError(
          fmt::format("{}: exists already; move it away, or give another --out", output.string()));
    outputs.push_back(output);
  }
  return outputs;
}

std::string quoted(const std::string& text) {
  std::string result = "\"";
  for (const char c : text) result += c == '"' ? std::string("\"\"") : std::string(1, c);
  return result + "\"";
}

std::string row_of(const std::string& image, const Prediction& prediction,
                   const InputDescription& input) {
  const auto k = static_cast<std::size_t>(prediction.classes[0]);
  const std::string name = k < input.class_names.size() ? input.class_names[k] : "";
  return fmt::format("{},{},{},{:.6f}\r\n", quoted(printable(image)), k, quoted(printable(name)),
                     prediction.probabilities[k]);
}

void write(const fs::path& file, const std::string& bytes) {
  write_whole(file, bytes, "give another --out, or make room");
}

}  // namespace

int run_predict(const CommandLine& line, Communicator& comm) {
  const Checkpoint checkpoint = checkpoint_in(line.file);
  if (!checkpoint.input.known())
    throw CheckpointError(fmt::format(
        "{}: does not say which images its network reads, as it was written by an earlier version; "
        "go on from it with `syncnorm train --resume` for a step",
        line.file));
  const LoadedExperiment loaded = parse_experiment_text(
      checkpoint.config, line.file + "/manifest.json",
      line.device.empty() ? std::vector<std::string>{} : std::vector{"device=" + line.device});
  const std::vector<fs::path> outputs =
      outputs_of(line.images, line.destination, checkpoint.input.per_pixel);
  const std::unique_ptr<Device> device = make_device(loaded.experiment, comm);
  const auto weights = checkpoint.files.find("model.safetensors");
  if (weights == checkpoint.files.end())
    throw CheckpointError(fmt::format("{}: has no model.safetensors", line.file));
  Predictor predictor(loaded, checkpoint.input, weights->second, line.file, *device);
  std::error_code error;
  fs::create_directories(line.destination, error);
  if (error)
    throw InputError(fmt::format("{}: cannot create the folder: {}; give another --out",
                                 line.destination, error.message()));
  ImageDecoder decoder;
  RgbImage image;
  std::string table = "image,class,name,probability\r\n";
  std::size_t bad = 0;
  for (std::size_t i = 0; i < line.images.size(); ++i) {
    try {
      decoder.decode(read_file(line.images[i]), image);
    } catch (const CorruptImageError& reason) {
      ++bad;
      std::cerr << fmt::format("syncnorm: {}: {}\n", printable_name(line.images[i]),
                               printable(reason.what()));
      continue;
    } catch (const InputError& reason) {
      ++bad;
      std::cerr << fmt::format("syncnorm: {}\n", printable(reason.what()));
      continue;
    }
    const Prediction prediction = predictor.predict(image);
    if (!checkpoint.input.per_pixel) {
      table += row_of(line.images[i], prediction, checkpoint.input);
      continue;
    }
    std::vector<std::uint8_t> mask(prediction.classes.begin(), prediction.classes.end());
    write(outputs[i], mask_png(prediction.height, prediction.width, mask));
  }
  if (!checkpoint.input.per_pixel) write(fs::path(line.destination) / kTable, table);
  std::cout << fmt::format("{}: {} of {} images predicted\n", printable_name(line.destination),
                           line.images.size() - bad, line.images.size());
  return bad == 0 ? 0 : static_cast<int>(ExitCode::bad_input);
}

}  // namespace syncnorm
