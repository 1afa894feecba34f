// See predictor.h.
#include "engine/train/predictor.h"

#include <algorithm>
#include <cmath>
#include <cstring>

#include "engine/config/locations.h"
#include "engine/model/zoo.h"
#include "engine/program/compile.h"
#include "engine/state/state_files.h"

namespace syncnorm {
namespace {

std::vector<float> softmax(const std::vector<float>& logits) {
  const float top = *std::max_element(logits.begin(), logits.end());
  std::vector<float> p;
  double total = 0.0;
  for (const float z : logits) {
    p.push_back(std::exp(z - top));
    total += p.back();
  }
  for (float& value : p) value = static_cast<float>(value / total);
  return p;
}

}  // namespace

Predictor::Predictor(const LoadedExperiment& loaded, InputDescription input, std::string weights,
                     std::string name, Device& device)
    : loaded_(loaded),
      input_(std::move(input)),
      weights_(std::move(weights)),
      name_(std::move(name)),
      device_(device),
      normalization_(input_.mean, input_.stddev),
      self_(make_self_communicator()) {}

Executor& Predictor::executor_of(int height, int width) {
  if (executor_ != nullptr && size_ == std::pair(height, width)) return *executor_;
  with_locations(loaded_, [&] {
    const Graph graph =
        build_model(loaded_.experiment, {height, width, input_.channels}, input_.classes,
                    input_.per_pixel ? Output::map : Output::vector);
    ProgramOptions options;
    options.mode = ProgramMode::evaluation;
    options.storage = activation_storage(loaded_.experiment.precision);
    options.per_pixel = input_.per_pixel;
    Program program = compile_program(graph, device_, options, consecutive_layout(graph));
    executor_ = nullptr;
    executor_ = std::make_unique<Executor>(std::move(program), device_, *self_, Placement{1, 1},
                                           nullptr, ReductionAlgorithm::tree, memory_);
    size_ = {height, width};
    if (!loaded_weights_)
      notes_ = model_from_file(graph, executor_->program(), memory_, weights_, name_);
    loaded_weights_ = true;
  });
  const std::size_t bytes = sizeof(float) * static_cast<std::size_t>(height) *
                            static_cast<std::size_t>(width) *
                            static_cast<std::size_t>(input_.channels);
  if (images_.bytes() < bytes) images_ = device_.allocate_pinned(bytes);
  return *executor_;
}

/// Returns the pixels that the network reads, [height, width, channels].
std::vector<std::uint8_t> Predictor::pixels_of(const RgbImage& image, int& height, int& width) {
  height = input_.per_pixel ? image.height() : input_.height;
  width = input_.per_pixel ? image.width() : input_.width;
  const auto count = static_cast<std::size_t>(height) * static_cast<std::size_t>(width);
  std::vector<std::uint8_t> rgb(3 * count);
  if (input_.per_pixel) {
    for (int y = 0; y < height; ++y)
      std::copy_n(image.row(y), image.row_bytes(),
                  rgb.data() + static_cast<std::size_t>(y) * image.row_bytes());
  } else {
    ImagesConfig config = loaded_.experiment.data.images;
    if (!loaded_.experiment.data.on_disk()) config.resize = std::max(height, width);
    config.height = height;
    config.width = width;
    resampler_.resample(image, evaluation_crop(image.height(), image.width(), config), rgb.data());
  }
  if (input_.channels == 3) return rgb;
  std::vector<std::uint8_t> grey(count * static_cast<std::size_t>(input_.channels));
  for (std::size_t i = 0; i < count; ++i) {  // the luma of ITU-R BT.601
    const std::uint8_t* p = rgb.data() + 3 * i;
    const int luma = (299 * p[0] + 587 * p[1] + 114 * p[2] + 500) / 1000;
    std::fill_n(grey.data() + i * static_cast<std::size_t>(input_.channels), input_.channels,
                static_cast<std::uint8_t>(luma));
  }
  return grey;
}

Prediction Predictor::predict(const RgbImage& image) {
  Prediction result;
  int height = 0, width = 0;
  const std::vector<std::uint8_t> pixels = pixels_of(image, height, width);
  Executor& executor = executor_of(height, width);
  const auto channels = static_cast<std::size_t>(input_.channels);
  float* values = images_.as<float>().data();
  for (std::size_t i = 0; i < pixels.size(); ++i)
    values[i] = normalization_.channel(static_cast<int>(i % channels))[pixels[i]];
  const std::vector<std::int32_t> labels(1, -1);
  const std::vector<std::uint8_t> masks(pixels.size() / channels, kIgnoredPixel);
  executor.run({}, {values, labels.data(), nullptr, nullptr, nullptr, masks.data()});
  const Program& program = executor.program();
  const std::vector<std::byte> bytes = executor.tensors().bytes(program.predictions_tensor, 0);
  result.classes.resize(bytes.size() / sizeof(std::int32_t));
  std::memcpy(result.classes.data(), bytes.data(), bytes.size());
  if (input_.per_pixel) {
    result.height = height;
    result.width = width;
  } else {
    result.probabilities = softmax(executor.tensors().floats(program.logits_tensor, 0));
  }
  return result;
}

}  // namespace syncnorm
