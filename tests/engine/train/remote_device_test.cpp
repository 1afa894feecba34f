// A whole training on a device whose memory the host cannot touch: initialization, optimizer,
// evaluation, running statistics, checkpoints, resuming, weights from a file; and on the CUDA
// device run on the CPU.
#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <atomic>
#include <filesystem>
#include <fstream>
#include <sstream>

#include <nlohmann/json.hpp>

#include "base/error.h"
#include "comm/communicator.h"
#include "engine/config/load.h"
#include "engine/train/trainer.h"
#include "monitoring/console.h"
#include "monitoring/run_log.h"
#include "tests/engine/data/test_images.h"
#include "tests/engine/emulated_gpu.h"
#include "tests/engine/remote_device.h"
#include "tests/temporary_folder.h"

namespace syncnorm::test {
namespace {

namespace fs = std::filesystem;

class RemoteTraining : public ::testing::Test {
 protected:
  enum class On { cpu, remote, emulated, emulated_apart };

  /// Trains into the folder `name`: on the CPU, with its memory out of reach, or on the CUDA device
  /// on the CPU, with all replicas together or one after another.
  EndEvent train(const std::string& name, On on, const std::string& settings,
                 const TrainerOptions& options = {}) {
    const LoadedExperiment loaded = parse_experiment_text(
        "run_dir: " + (folder_ / name).string() + "\ndevice: " + (on == On::cpu ? "cpu" : "cuda") +
            "\n" + settings + "replicas: 4\nbatch_per_replica: 2\nmodel: " + model_ + "\ndata: {" +
            data_ + "}\ndrop_last: false\n",
        "test.yaml");
    const Dataset dataset = load_dataset(loaded.experiment.data, loaded.experiment.seed,
                                         loaded.experiment.global_batch());
    const auto comm = make_self_communicator();
    const auto run = [&](Device& device) {
      const Precision precision = loaded.experiment.precision;
      device.use_storage(activation_storage(precision), precision == Precision::bf16_emulated);
      return Trainer(loaded, dataset, device, *comm, options).run();
    };
    if (on == On::emulated || on == On::emulated_apart) {
      EmulatedGpu device;
      device.together = on == On::emulated;
      const std::uint64_t before = emulation::launches();
      const EndEvent end = run(device);
      replays_ = device.replays;
      launches_ = emulation::launches() - before;
      return end;
    }
    std::unique_ptr<Device> device = make_cpu_device();
    if (on == On::cpu) return run(*device);
    RemoteDevice remote(std::move(device));
    const EndEvent end = run(remote);
    replays_ = remote.replays;
    pageable_copies_ = remote.pageable_copies;
    return end;
  }

  /// The lines of the run log of `name`.
  std::vector<nlohmann::json> events(const std::string& name) {
    std::vector<nlohmann::json> lines;
    std::ifstream in(folder_ / name / "metrics.jsonl");
    for (std::string line; std::getline(in, line);) lines.push_back(nlohmann::json::parse(line));
    return lines;
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

  const test::TemporaryFolder temporary_;
  const fs::path folder_ = temporary_.path();
  std::string data_ =
      "dataset: synthetic, augment: [random_crop, horizontal_flip, cutout], cutout_size: 3, "
      "crop_padding: 2, synthetic: {classes: 5, height: 8, width: 8, channels: 1, "
      "train_samples: 44, test_samples: 20}";
  std::string model_ = "{architecture: resnet8, dropout: 0.2}";
  int replays_ = 0;             // of the last run, of recorded steps
  int pageable_copies_ = 0;     // of the last run on a remote device
  std::uint64_t launches_ = 0;  // of the last run on the emulated GPU
};

TEST_F(RemoteTraining, EndsWithTheBitsOfTheCpu) {
  const std::string common = "steps: 8\nevaluation: {every_steps: 3}\n";
  const std::string adam =
      "optimizer: {kind: adamw, lr: 0.01, weight_decay: 0.01, clip_norm: 0.5}\n";
  int number = 0;
  for (const std::string& settings :
       {common + "norm: syncbn\n", common + "norm: bn\n" + adam, common + "norm: none\n",
        common + "norm: {kind: batch, synced_replicas: 2, precise_samples: 24}\n",
        common + "norm: syncbn\nprecision: bf16_emulated\n",
        std::string(
            "steps: 8\nnorm: bn\nema: {decay: 0.8, every: 2}\n"
            "evaluation: {statistics: [running, precise, batch, test_set, mixed], batch: 6, "
            "precise_samples: 20, mixed_weights: [0.3]}\n")}) {
    SCOPED_TRACE(settings);
    const std::string name = std::to_string(number++);
    const EndEvent here = train("here" + name, On::cpu, settings);
    const EndEvent there = train("there" + name, On::remote, settings);
    EXPECT_EQ(here.final_loss, there.final_loss);
    EXPECT_EQ(here.test.value().loss, there.test.value().loss);
    ASSERT_EQ(here.other_evaluations.size(), there.other_evaluations.size());
    for (std::size_t i = 0; i < here.other_evaluations.size(); ++i)
      EXPECT_EQ(here.other_evaluations[i].loss, there.other_evaluations[i].loss);
    ASSERT_GT(tensors("here" + name, 8).size(), 300'000u);
    EXPECT_EQ(tensors("here" + name, 8), tensors("there" + name, 8));
    EXPECT_GT(replays_, 0);
  }
}

TEST_F(RemoteTraining, ImagesOnDiskEndWithTheBitsOfTheCpu) {
  for (const char* part : {"train/a", "train/b", "test/a", "test/b"}) {
    const fs::path own = folder_ / "images" / part;
    fs::create_directories(own);
    for (int i = 0; i < 9; ++i) {
      testing::Bytes pixels = testing::pattern(8 + i, 17 - i);
      for (std::uint8_t& value : pixels)
        value = static_cast<std::uint8_t>(value * (i + 1) + part[6]);
      const testing::Bytes file = testing::png_of(pixels, 8 + i, 17 - i);
      const std::size_t kept = i == 4 ? file.size() / 2 : file.size();  // one is cut off
      std::ofstream(own / (std::to_string(i) + ".png"), std::ios::binary)
          .write(reinterpret_cast<const char*>(file.data()), static_cast<std::streamsize>(kept));
    }
  }
  data_ = "dataset: image_folder, path: " + (folder_ / "images").string() +
          ", augment: [random_resized_crop, horizontal_flip, color_jitter], "
          "images: {height: 8, width: 8, resize: 8, threads: 2, corrupt: skip}";
  const std::string settings =
      "steps: 6\nnorm: {kind: batch, synced_replicas: 4, precise_samples: 16}\n";
  const EndEvent here = train("here", On::cpu, settings);
  const EndEvent there = train("there", On::remote, settings);
  EXPECT_EQ(here.final_loss, there.final_loss);
  EXPECT_EQ(here.test.value().loss, there.test.value().loss);
  ASSERT_GT(tensors("here", 6).size(), 300'000u);
  EXPECT_EQ(tensors("here", 6), tensors("there", 6));
}

// A copy from memory that is not pinned makes the host wait for the device.
TEST_F(RemoteTraining, CopiesOfStepsAreFromPinnedMemory) {
  const std::string common =
      "norm: syncbn\nevaluation: {every_epochs: 0}\ncheckpoint: {every_epochs: 0}\n";
  std::vector<int> copies;
  for (const int steps : {7, 13}) {  // both end after the first epoch, with its smaller last batch
    train("run" + std::to_string(steps), On::remote,
          "steps: " + std::to_string(steps) + "\n" + common);
    copies.push_back(pageable_copies_);
  }
  EXPECT_GT(copies[0], 0);  // the evaluation at the end, checkpoints
  EXPECT_EQ(copies[0], copies[1]);
}

TEST_F(RemoteTraining, ResumesOnTheOtherKindOfDevice) {
  int number = 0;
  for (const char* norm :
       {"{kind: batch, synced_replicas: 2}",
        "{kind: momentum, synced_replicas: 2, momentum_ramp: 6}",
        "{kind: mabn, synced_replicas: 2, window: 3, window_start: 0, renormalize_start: 4}",
        "{kind: cross_iteration, synced_replicas: 2, window: 3, window_start: 0}"}) {
    SCOPED_TRACE(norm);
    const std::string settings = std::string("norm: ") + norm + "\n";
    const std::string whole = "whole" + std::to_string(number);
    const std::string crossed = "crossed" + std::to_string(number++);
    train(whole, On::cpu, "steps: 8\n" + settings);
    TrainerOptions resume;
    resume.resume = "auto";
    train(crossed, On::remote, "steps: 3\n" + settings);
    train(crossed, On::cpu, "steps: 5\n" + settings, resume);
    train(crossed, On::remote, "steps: 8\n" + settings, resume);
    EXPECT_EQ(tensors(crossed, 8), tensors(whole, 8));
  }
}

TEST_F(RemoteTraining, StartsFromWeights) {
  train("start", On::cpu, "steps: 3\nnorm: syncbn\n");
  TrainerOptions weights;
  weights.init_from = (folder_ / "start" / "checkpoints" / "step-3" / "model.safetensors").string();
  const EndEvent here = train("here", On::cpu, "steps: 2\nnorm: frozen\n", weights);
  const EndEvent there = train("there", On::remote, "steps: 2\nnorm: frozen\n", weights);
  EXPECT_EQ(here.final_loss, there.final_loss);
  EXPECT_EQ(tensors("here", 2), tensors("there", 2));
}

/// Every step's loss, in the order in which it was told.
struct Losses final : Observer {
  std::vector<std::int64_t> steps;
  std::vector<double> losses;
  std::atomic<bool>* stop = nullptr;  // set when step 2 is told
  void on_step(const StepEvent& event) override {
    steps.push_back(event.step);
    losses.push_back(event.loss);
    if (stop != nullptr && event.step == 2) stop->store(true);
  }
};

TEST_F(RemoteTraining, TellsOfEveryStepInOrder) {
  const std::string settings =
      "steps: 12\nnorm: syncbn\nevaluation: {every_steps: 5}\ncheckpoint: {every_steps: 7}\n";
  Losses here, there;
  TrainerOptions options;
  options.observers = {&here};
  train("here", On::cpu, settings, options);
  options.observers = {&there};
  train("there", On::remote, settings, options);
  ASSERT_EQ(here.steps.size(), 12u);
  EXPECT_EQ(here.steps, there.steps);
  EXPECT_EQ(here.losses, there.losses);
}

TEST_F(RemoteTraining, StopsBehindTheStepInFlightAndGoesOnWithTheSameBits) {
  const std::string settings = "steps: 12\nnorm: syncbn\n";
  train("whole", On::remote, settings);
  std::atomic<bool> stop = false;
  Losses losses;
  losses.stop = &stop;
  TrainerOptions options;
  options.observers = {&losses};
  options.stop_requested = &stop;
  EXPECT_THROW(train("stopped", On::remote, settings, options), Error);
  // Asked for after step 2 with 3 in flight, seen in the result of step 4 with 5 in flight.
  EXPECT_EQ(losses.steps.back(), 5);
  TrainerOptions resume;
  resume.resume = "auto";
  train("stopped", On::remote, settings, resume);
  EXPECT_EQ(tensors("stopped", 12), tensors("whole", 12));
}

TEST_F(RemoteTraining, DivergesInTheSameStepWithTheSameWords) {
  const std::string settings = "steps: 30\nnorm: none\noptimizer: {lr: 1e18}\n";
  std::vector<std::string> words;
  for (const On on : {On::cpu, On::remote}) try {
      train(on == On::cpu ? "here" : "there", on, settings);
    } catch (const DivergedError& error) {
      words.emplace_back(error.what());
    }
  ASSERT_EQ(words.size(), 2u);
  EXPECT_EQ(words[0], words[1]);
}

// The order of additions inside our CUDA kernels is not the CPU's: equal to rounding.
TEST_F(RemoteTraining, LossesOnTheEmulatedGpuAreTheCpus) {
  for (const char* norm : {"syncbn", "gn",
                           "{kind: batch, synced_replicas: 2, renormalize: true, "
                           "renormalize_start: 3, renormalize_ramp: 5}"})
    for (const char* more : {"", "optimizer: {kind: adamw, lr: 0.001, clip_norm: 0.5}\n"}) {
      const std::string settings = std::string("steps: 10\nnorm: ") + norm + "\n" + more;
      SCOPED_TRACE(settings);
      Losses here, there;
      TrainerOptions options;
      options.observers = {&here};
      const EndEvent cpu = train("here", On::cpu, settings, options);
      options.observers = {&there};
      const EndEvent gpu = train("there", On::emulated, settings, options);
      EXPECT_GE(replays_, 5);
      for (std::size_t i = 0; i < 10; ++i)
        EXPECT_NEAR(here.losses.at(i), there.losses.at(i), 1e-3 * here.losses[i]) << i;
      EXPECT_NEAR(cpu.test.value().loss, gpu.test.value().loss, 1e-2 * cpu.test.value().loss);
      fs::remove_all(folder_ / "here");
      fs::remove_all(folder_ / "there");
    }
}

TEST_F(RemoteTraining, LossesInBf16OnTheEmulatedGpuAreTheCpus) {
  const std::string settings = "steps: 10\nnorm: syncbn\noptimizer: {lr: 0.005}\nprecision: ";
  Losses here, there;
  TrainerOptions options;
  options.observers = {&here};
  train("here", On::cpu, settings + "bf16_emulated\n", options);
  options.observers = {&there};
  train("there", On::emulated, settings + "bf16\n", options);
  // Both round to bf16 in every layer; one rounding that falls the other way is 0.4%.
  for (std::size_t i = 0; i < 10; ++i)
    EXPECT_NEAR(here.losses.at(i), there.losses.at(i), 2e-2 * here.losses[i]) << i;
}

TEST_F(RemoteTraining, ReplicasTogetherHaveTheBitsOfOneAfterAnother) {
  for (const char* norm : {"bn", "syncbn", "{kind: batch, synced_replicas: 2}", "gn", "dyt",
                           "{kind: batch, deviation: l1, weights: standardized}"})
    for (const char* more : {"", "precision: bf16\n"}) {
      const std::string settings = std::string("steps: 7\nnorm: ") + norm + "\n" + more;
      SCOPED_TRACE(settings);
      train("apart", On::emulated_apart, settings);
      const std::uint64_t launches_apart = launches_;
      train("together", On::emulated, settings);
      EXPECT_LT(launches_, launches_apart);
      EXPECT_EQ(tensors("together", 7), tensors("apart", 7));
      fs::remove_all(folder_ / "apart");
      fs::remove_all(folder_ / "together");
    }
}

// Transposed convolutions, resampling, joined channels and products, in f32 and bf16.
TEST_F(RemoteTraining, LayersThatEnlargeMapsAreTheCpusAndTheSameForReplicasTogether) {
  model_ =
      "{layers: [{type: conv, out: 8, kernel: 3, stride: 2, padding: 1}, norm, {type: relu, name: "
      "small}, {type: conv_transpose, out: 8, kernel: 2, stride: 2}, norm, {type: relu, name: up}, "
      "{type: upsample, to: input, mode: bilinear, input: small, name: smooth}, {type: upsample, "
      "scale: 2, input: small, name: near}, {type: concat, input: input, from: [up, smooth, "
      "near]}, "
      "{type: conv, out: 8, kernel: 3, padding: 1}, norm, {type: relu, name: body}, global_pool, "
      "{type: conv, out: 8, kernel: 1}, sigmoid, {type: multiply, from: body, name: excited}, "
      "{type: conv, out: 1, kernel: 1}, sigmoid, {type: multiply, from: excited}, global_pool, "
      "{type: linear, out: 5}]}";
  for (const bool bf16 : {false, true}) {
    const std::string settings = "steps: 7\nnorm: syncbn\noptimizer: {lr: 0.01}\nprecision: ";
    Losses here, there;
    TrainerOptions options;
    options.observers = {&here};
    train("here", On::cpu, settings + (bf16 ? "bf16_emulated\n" : "f32\n"), options);
    options.observers = {&there};
    train("together", On::emulated, settings + (bf16 ? "bf16\n" : "f32\n"), options);
    train("apart", On::emulated_apart, settings + (bf16 ? "bf16\n" : "f32\n"));
    for (std::size_t i = 0; i < 7; ++i)
      EXPECT_NEAR(here.losses.at(i), there.losses.at(i), (bf16 ? 2e-2 : 1e-4) * here.losses[i])
          << i;
    EXPECT_EQ(tensors("together", 7), tensors("apart", 7));
    for (const char* name : {"here", "together", "apart"}) fs::remove_all(folder_ / name);
  }
}

TEST_F(RemoteTraining, ACheckpointGoesFromTheCpuToTheEmulatedGpuAndBack) {
  const std::string settings = "norm: syncbn\n";
  Losses whole, crossed;
  TrainerOptions options;
  options.observers = {&whole};
  train("whole", On::cpu, "steps: 9\n" + settings, options);
  options.resume = "auto";
  std::ostringstream console_text;
  const auto part = [&](On on, const std::string& steps) {
    RunLog log(nullptr);
    Console console(console_text);
    options.observers = {&crossed, &log, &console};
    train("crossed", on, steps + settings, options);
  };
  part(On::cpu, "steps: 2\n");
  part(On::cpu, "steps: 3\n");
  part(On::emulated, "steps: 6\n");
  part(On::cpu, "steps: 9\n");
  EXPECT_EQ(whole.steps, crossed.steps);
  for (std::size_t i = 0; i < whole.losses.size(); ++i)
    EXPECT_NEAR(whole.losses[i], crossed.losses[i], 1e-3 * whole.losses[i]) << i;
  // The texts of the run log and the console.
  std::vector<std::string> notes;
  for (const nlohmann::json& event : events("crossed"))
    if (event["event"] == "resume") notes.push_back(event.value("note", ""));
  const std::vector<std::string> expected = {
      "", "device: cpu until step 3, cuda from there on; the bits follow the device",
      "device: cuda until step 6, cpu from there on; the bits follow the device"};
  EXPECT_EQ(notes, expected);
  for (const std::string& note : {expected[1], expected[2]})
    EXPECT_THAT(console_text.str(), ::testing::HasSubstr("\n  " + note + "\n"));
}

TEST_F(RemoteTraining, OnlyTheDeviceMayChangeOnTheWayToIt) {
  const std::string settings = "optimizer: {lr: 0.01}\n";
  train("run", On::cpu, "steps: 2\nnorm: syncbn\n" + settings);
  TrainerOptions resume;
  resume.resume = "auto";
  const std::string with_syncbn = "steps: 4\nnorm: syncbn\n" + settings;
  for (const auto& [changed, said] : std::vector<std::pair<std::string, std::string>>{
           {with_syncbn + "precision: bf16\n", "precision: f32, but now it is bf16"},
           {with_syncbn + "reduction: fastest\n", "reduction: reproducible, but now it is fastest"},
           {with_syncbn + "seed: 2\n", "seed: 1, but now it is 2"},
           {"steps: 4\nnorm: bn\n" + settings, "norm.synced_replicas: all, but now it is 1"}}) {
    SCOPED_TRACE(changed);
    try {
      train("run", On::emulated, changed, resume);
      ADD_FAILURE() << "not refused";
    } catch (const Error& error) {
      EXPECT_EQ(error.exit_code(), ExitCode::bad_checkpoint);
      EXPECT_THAT(error.what(), ::testing::HasSubstr("was trained with " + said));
    }
  }
  // allow_shared_gpu is of the machine, as the device is.
  train("run", On::emulated, with_syncbn + "allow_shared_gpu: true\n", resume);
}

// A recorded step must see this step's state, not that of the step it was recorded in: with another
// rate, another mask of dropout and no update of running statistics the losses would leave those of
// steps that are never recorded, which have the same bits.
TEST_F(RemoteTraining, ARecordedStepReadsItsStateAnew) {
  const std::string settings =
      "steps: 10\nnorm: {kind: batch, synced_replicas: 2, renormalize: true, renormalize_start: 3, "
      "renormalize_ramp: 5, noise: true}\nschedule: {kind: cosine, warmup_steps: 5}\n"
      "optimizer: {kind: adamw, lr: 0.01}\n";
  train("recorded", On::emulated, settings);
  EXPECT_GE(replays_, 7);
  TrainerOptions options;
  options.record_steps = false;
  train("eager", On::emulated, settings, options);
  EXPECT_EQ(replays_, 0);
  EXPECT_EQ(tensors("recorded", 10), tensors("eager", 10));
}

}  // namespace
}  // namespace syncnorm::test
