// In which storage a program reads the images of its batch.
#include <gtest/gtest.h>

#include <algorithm>

#include "engine/config/load.h"
#include "engine/model/zoo.h"
#include "engine/program/compile.h"

namespace syncnorm::test {
namespace {

struct Compiled {
  Program program;
  int conversions_of_images = 0;
  Tensor images;
};

Compiled compile(const std::string& layers, bool stored_images, Storage storage = Storage::bf16,
                 Shape image = {8, 8, 3}) {
  const LoadedExperiment loaded =
      parse_experiment_text("norm: bn\nmodel:\n  layers: " + layers + "\n", "test.yaml");
  const Graph graph = build_model(loaded.experiment, image, 5);
  const std::unique_ptr<Device> device = make_cpu_device();
  device->use_storage(storage, true);
  ProgramOptions options;
  options.batch_per_replica = 2;
  options.synced_replicas = loaded.experiment.norm.synced_replicas;
  options.storage = storage;
  options.stored_images = stored_images;
  Compiled made{compile_program(graph, *device, options), 0, {}};
  int images = -1;
  for (std::size_t t = 0; t < made.program.tensors.size(); ++t)
    if (made.program.tensors[t].space == Space::image) images = static_cast<int>(t);
  made.images = made.program.tensors[static_cast<std::size_t>(images)];
  for (const Instruction& instruction : made.program.instructions)
    made.conversions_of_images += instruction.kind == InstructionKind::compute &&
                                  std::holds_alternative<Convert>(instruction.op) &&
                                  instruction.args[0] == images;
  return made;
}

constexpr const char* kConvFirst =
    "[{type: conv, out: 4, kernel: 3}, norm, flatten, {type: linear, out: 5}]";
constexpr const char* kLinearFirst = "[flatten, {type: linear, out: 5}]";

TEST(ImageStorage, IsThatOfActivationsWhereTheDeviceMakesTheImages) {
  const Compiled made = compile(kConvFirst, true);
  EXPECT_EQ(made.program.image_storage, Storage::bf16);
  EXPECT_EQ(made.images.element, 'h');
  EXPECT_EQ(made.images.bytes, 2u * 8 * 8 * 3 * 2);
  EXPECT_EQ(made.images.stride, made.images.bytes);
  EXPECT_EQ(made.conversions_of_images, 0);
}

TEST(ImageStorage, IsF32WhereTheLoaderMakesThem) {
  const Compiled made = compile(kConvFirst, false);
  EXPECT_EQ(made.program.image_storage, Storage::f32);
  EXPECT_EQ(made.images.element, 'f');
  EXPECT_EQ(made.images.bytes, 2u * 8 * 8 * 3 * 4);
  EXPECT_EQ(made.conversions_of_images, 1);
}

TEST(ImageStorage, IsF32WithActivationsInF32) {
  const Compiled made = compile(kConvFirst, true, Storage::f32);
  EXPECT_EQ(made.program.image_storage, Storage::f32);
  EXPECT_EQ(made.conversions_of_images, 0);
}

// Rounded images would change what a linear layer computes. With one channel, flatten is no
// operation, and the layer reads the images themselves.
TEST(ImageStorage, IsF32WhereALinearLayerReadsThem) {
  const Compiled made = compile(kLinearFirst, true, Storage::bf16, {8, 8, 1});
  EXPECT_EQ(made.program.image_storage, Storage::f32);
  EXPECT_EQ(made.conversions_of_images, 0);
  EXPECT_EQ(compile(kLinearFirst, true).program.image_storage, Storage::bf16);
}

}  // namespace
}  // namespace syncnorm::test
