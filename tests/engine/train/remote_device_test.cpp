// A whole training on a device whose memory the host cannot touch: initialization, optimizer,
// evaluation, running statistics, checkpoints, resuming, weights from a file; and on the CUDA
// device run on the CPU.
#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <atomic>
#include <filesystem>
#include <fstream>

#include "base/error.h"
#include "comm/communicator.h"
#include "engine/config/load.h"
#include "engine/program/flight_hook.h"
#include "engine/train/trainer.h"
#include "tests/engine/data/test_images.h"
#include "tests/engine/emulated_gpu.h"
#include "tests/engine/program/program_fixture.h"
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
        "run_dir: " + (folder_ / name).string() + "\n" + settings +
            "replicas: 4\nbatch_per_replica: 2\nmodel: {architecture: resnet8, dropout: 0.2}\n"
            "data: {" +
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
    return end;
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
  int replays_ = 0;             // of the last run, of recorded steps
  std::uint64_t launches_ = 0;  // of the last run on the emulated GPU
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
    const EndEvent here = train("here" + name, On::cpu, settings);
    const EndEvent there = train("there" + name, On::remote, settings);
    EXPECT_EQ(here.final_loss, there.final_loss);
    EXPECT_EQ(here.test_loss, there.test_loss);
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
  EXPECT_EQ(here.test_loss, there.test_loss);
  ASSERT_GT(tensors("here", 6).size(), 300'000u);
  EXPECT_EQ(tensors("here", 6), tensors("there", 6));
}

TEST_F(RemoteTraining, ResumesOnTheOtherKindOfDevice) {
  const std::string settings = "norm: {kind: batch, synced_replicas: 2}\n";
  train("whole", On::cpu, "steps: 8\n" + settings);
  TrainerOptions resume;
  resume.resume = "auto";
  train("crossed", On::remote, "steps: 3\n" + settings);
  train("crossed", On::cpu, "steps: 5\n" + settings, resume);
  train("crossed", On::remote, "steps: 8\n" + settings, resume);
  EXPECT_EQ(tensors("crossed", 8), tensors("whole", 8));
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

/// Two ranks of which the other one never takes part.
class AloneOfTwo final : public Communicator {
 public:
  explicit AloneOfTwo(RemoteDevice& device) : device_(device) {}
  int rank() const override { return 0; }
  int size() const override { return 2; }
  std::string description() const override { return "alone of two"; }
  std::unique_ptr<Communicator> subgroup(Interval) override {
    return std::make_unique<AloneOfTwo>(device_);
  }
  std::unique_ptr<Request> make_request() override { return std::make_unique<Request>(); }
  bool test(Request&) override { return false; }
  void poll() override {
    if (failed) throw PeerLostError("the communicator has failed");
  }
  std::vector<std::string> all_gather_text(const std::string& text) override {
    return {text, text};
  }
  [[noreturn]] void abort(int exit_code) override { std::_Exit(exit_code); }
  void give_up() override { given_up = true; }
  bool failed = false, given_up = false;

 private:
  void do_all_gather(Request&, const void*, void*, std::span<const int>, DataType) override {
    device_.hang();
  }
  void do_all_to_all(Request&, const void*, std::span<const int>, void*, std::span<const int>,
                     DataType) override {
    device_.hang();
  }
  void do_all_reduce(Request&, const void*, void*, int, DataType, Combine) override {
    device_.hang();
  }
  RemoteDevice& device_;
};

TEST(QueuedSteps, ALostPeerEndsThemWithTheNameOfTheReduction) {
  auto device = std::make_unique<RemoteDevice>(make_cpu_device());
  AloneOfTwo comm(*device);
  Workbench bench(
      "replicas: 2\nbatch_per_replica: 2\nsteps: 1\nnorm: syncbn\n"
      "model: {architecture: resnet8}\n",
      {8, 8, 1}, 5, {}, &comm, std::move(device));
  FlightRecorder recorder;
  FlightHook flight(recorder, *bench.executor);
  bench.executor->add_hook(flight);
  Optimizer optimizer(bench.graph, bench.executor->program(), bench.loaded.experiment.optimizer,
                      *bench.device);
  Steps steps(*bench.device, optimizer, bench.memory, bench.executor->queued(), true);
  bench.memory.parameters.push();
  const BatchView batch{bench.images.data(), bench.labels.data(), bench.ids.data()};
  const auto ended_with = [&](double deadline) -> std::string {
    try {
      steps.finish(deadline);
    } catch (const PeerLostError& error) {
      return error.what();
    }
    return "";
  };
  steps.start(*bench.executor, bench.state, batch);
  EXPECT_THAT(ended_with(0.2),
              ::testing::AllOf(::testing::HasSubstr("step 1 is not done on the device after 0 s"),
                               ::testing::HasSubstr("in the reduction of ")));
  // The watchdog's record says that this rank waits there.
  const std::vector<FlightEvent> events = recorder.last();
  EXPECT_EQ(events.back().kind, FlightKind::wait);
  EXPECT_THAT(events.back().name, ::testing::HasSubstr("reduction of "));
  EXPECT_TRUE(comm.given_up);  // or freeing the device's memory would wait for the peer
  comm.failed = true;
  EXPECT_EQ(ended_with(60.0), "the communicator has failed");
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
      EXPECT_NEAR(cpu.test_loss, gpu.test_loss, 1e-2 * cpu.test_loss);
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

TEST_F(RemoteTraining, ACheckpointGoesFromTheCpuToTheEmulatedGpuAndBack) {
  const std::string settings = "norm: syncbn\n";
  Losses whole, crossed;
  TrainerOptions options;
  options.observers = {&whole};
  train("whole", On::cpu, "steps: 9\n" + settings, options);
  options.observers = {&crossed};
  options.resume = "auto";
  train("crossed", On::cpu, "steps: 3\n" + settings, options);
  train("crossed", On::emulated, "steps: 6\n" + settings, options);
  train("crossed", On::cpu, "steps: 9\n" + settings, options);
  EXPECT_EQ(whole.steps, crossed.steps);
  for (std::size_t i = 0; i < whole.losses.size(); ++i)
    EXPECT_NEAR(whole.losses[i], crossed.losses[i], 1e-3 * whole.losses[i]) << i;
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
