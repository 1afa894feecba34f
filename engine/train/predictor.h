// Predicts single images with the weights of a checkpoint.
#pragma once

#include <cstdint>
#include <map>
#include <memory>
#include <string>
#include <utility>
#include <vector>

#include "engine/config/load.h"
#include "engine/data/augment.h"
#include "engine/data/image_codec.h"
#include "engine/data/image_resample.h"
#include "engine/program/executor.h"
#include "engine/state/input_description.h"

namespace syncnorm {

struct Prediction {
  int height = 1, width = 1;          // 1×1 with a label per image
  std::vector<std::int32_t> classes;  // [height, width]
  std::vector<float> probabilities;   // with a label per image: of each class
};

class Predictor {
 public:
  /// `weights` are the bytes of model.safetensors, `name` the file in messages. All references must
  /// outlive this.
  Predictor(const LoadedExperiment& loaded, InputDescription input, std::string weights,
            std::string name, Device& device);

  /// Predicts an image. With labels per pixel it is read whole, in its own size; otherwise as an
  /// evaluation of images on disk reads it, at the size of a training image. Throws InputError
  /// where the model cannot read an image of that size.
  Prediction predict(const RgbImage& image);

  /// Returns the notes of loading the weights, after the first image.
  const std::vector<std::string>& notes() const { return notes_; }

 private:
  Executor& executor_of(int height, int width);
  std::vector<std::uint8_t> pixels_of(const RgbImage& image, int& height, int& width);

  const LoadedExperiment& loaded_;
  const InputDescription input_;
  const std::string weights_, name_;
  Device& device_;
  const NormalizationTable normalization_;
  Resampler resampler_;
  std::unique_ptr<Communicator> self_;
  Memory memory_;
  Buffer images_;
  // The network for images of one size, the last one used.
  std::pair<int, int> size_;
  std::unique_ptr<Executor> executor_;
  std::vector<std::string> notes_;
  bool loaded_weights_ = false;
};

}  // namespace syncnorm
