// A whole training on a device whose memory the host cannot touch: initialization, optimizer,
// evaluation, running statistics, checkpoints, resuming, weights from a file.
#include <gtest/gtest.h>

#include <filesystem>
#include <fstream>

#include "comm/communicator.h"
#include "engine/config/load.h"
#include "engine/train/trainer.h"
#include "tests/engine/remote_device.h"

namespace syncnorm::test {
namespace {

namespace fs = std::filesystem;

class RemoteTraining : public ::testing::Test {
 protected:
  RemoteTraining() {
    std::string name = (fs::temp_directory_path() / "syncnorm-XXXXXX").string();
    folder_ = mkdtemp(name.data());
  }
  ~RemoteTraining() override { fs::remove_all(folder_); }

  /// Trains into the folder `name`, on the CPU or with its memory out of reach.
  EndEvent train(const std::string& name, bool remote, const std::string& settings,
                 const TrainerOptions& options = {}) {
    const LoadedExperiment loaded = parse_experiment_text(
        "run_dir: " + (folder_ / name).string() + "\n" + settings +
            "replicas: 4\nbatch_per_replica: 2\nmodel: {architecture: resnet8, dropout: 0.2}\n"
            "data: {dataset: synthetic, synthetic: {classes: 5, height: 8, width: 8, channels: 1, "
            "train_samples: 44, test_samples: 20}}\ndrop_last: false\n",
        "test.yaml");
    const Dataset dataset = load_dataset(loaded.experiment.data, loaded.experiment.seed,
                                         loaded.experiment.global_batch());
    std::unique_ptr<Device> device = make_cpu_device();
    if (remote) device = std::make_unique<RemoteDevice>(std::move(device));
    const auto comm = make_self_communicator();
    return Trainer(loaded, dataset, *device, *comm, options).run();
  }

  /// The tensors that `name` ended with.
  std::string tensors(const std::string& name, int step) {
    std::string all;
    for (const char* file : {"model", "optimizer", "statistics"}) {
      std::ifstream in(folder_ / name / "checkpoints" / ("step-" + std::to_string(step)) /
                           (std::string(file) + ".safetensors"),
                       std::ios::binary);
      all.append(std::istreambuf_iterator<char>(in), {});
    }
    return all;
  }

  fs::path folder_;
};

TEST_F(RemoteTraining, EndsWithTheBitsOfTheCpu) {
  const std::string common = "steps: 8\nevaluation: {every_steps: 3}\n";
  const std::string adam =
      "optimizer: {kind: adamw, lr: 0.01, weight_decay: 0.01, clip_norm: 0.5}\n";
  int number = 0;
  for (const std::string& settings :
       {common + "norm: syncbn\n", common + "norm: bn\n" + adam, common + "norm: none\n",
        common + "norm: {kind: batch, synced_replicas: 2, precise_samples: 24}\n"}) {
    SCOPED_TRACE(settings);
    const std::string name = std::to_string(number++);
    const EndEvent here = train("here" + name, false, settings);
    const EndEvent there = train("there" + name, true, settings);
    EXPECT_EQ(here.final_loss, there.final_loss);
    EXPECT_EQ(here.test_loss, there.test_loss);
    ASSERT_GT(tensors("here" + name, 8).size(), 300'000u);
    EXPECT_EQ(tensors("here" + name, 8), tensors("there" + name, 8));
  }
}

TEST_F(RemoteTraining, ResumesOnTheOtherKindOfDevice) {
  const std::string settings = "norm: {kind: batch, synced_replicas: 2}\n";
  train("whole", false, "steps: 8\n" + settings);
  TrainerOptions resume;
  resume.resume = "auto";
  train("crossed", true, "steps: 3\n" + settings);
  train("crossed", false, "steps: 5\n" + settings, resume);
  train("crossed", true, "steps: 8\n" + settings, resume);
  EXPECT_EQ(tensors("crossed", 8), tensors("whole", 8));
}

TEST_F(RemoteTraining, StartsFromWeights) {
  train("start", false, "steps: 3\nnorm: syncbn\n");
  TrainerOptions weights;
  weights.init_from = (folder_ / "start" / "checkpoints" / "step-3" / "model.safetensors").string();
  const EndEvent here = train("here", false, "steps: 2\nnorm: frozen\n", weights);
  const EndEvent there = train("there", true, "steps: 2\nnorm: frozen\n", weights);
  EXPECT_EQ(here.final_loss, there.final_loss);
  EXPECT_EQ(tensors("here", 2), tensors("there", 2));
}

}  // namespace
}  // namespace syncnorm::test
