// A peer is lost while steps are queued on a device: what ends them, in which order, and what is
// said.
#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include "base/error.h"
#include "comm/flight_recorder.h"
#include "engine/program/flight_hook.h"
#include "engine/train/steps.h"
#include "tests/engine/program/program_fixture.h"
#include "tests/engine/remote_device.h"

namespace syncnorm::test {
namespace {

using ::testing::AllOf;
using ::testing::HasSubstr;

/// The other rank's part in a collective that is queued or recorded from now on.
enum class Peer { comes, hangs, has_failed };

/// One of two ranks, as it sees them. A collective whose peer comes moves nothing.
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
    if (peer == Peer::has_failed) throw PeerLostError("the communicator has failed");
  }
  std::vector<std::string> all_gather_text(const std::string& text) override {
    return {text, text};
  }
  [[noreturn]] void abort(int exit_code) override { std::_Exit(exit_code); }
  void give_up() override {
    given_up = true;
    recordings_when_given_up = device_.recordings;
  }

  Peer peer = Peer::hangs;
  bool given_up = false;
  int recordings_when_given_up = -1;

 private:
  void collective() {
    poll();
    if (peer == Peer::hangs) device_.hang();
  }
  void do_all_gather(Request&, const void*, void*, std::span<const int>, DataType) override {
    collective();
  }
  void do_all_to_all(Request&, const void*, std::span<const int>, void*, std::span<const int>,
                     DataType) override {
    collective();
  }
  void do_all_reduce(Request&, const void*, void*, int, DataType, Combine) override {
    collective();
  }
  RemoteDevice& device_;
};

class LostPeer : public ::testing::Test {
 protected:
  static constexpr int kRecordedFrom = 2;  // steps before are run, in which libraries initialize

  void start() {
    steps_.start(*bench_.executor, bench_.state, batch_);
    ++bench_.state.step;
  }
  /// Returns the words of the PeerLostError that `action` throws; "" if it throws none.
  template <class Action>
  static std::string lost_in(const Action& action) {
    try {
      action();
    } catch (const PeerLostError& error) {
      return error.what();
    }
    return "";
  }
  std::string lost_after(double deadline) {
    return lost_in([&] { steps_.finish(deadline); });
  }

  std::unique_ptr<RemoteDevice> made_ = std::make_unique<RemoteDevice>(make_cpu_device());
  RemoteDevice& device_ = *made_;
  AloneOfTwo comm_{device_};
  Workbench bench_{
      "replicas: 2\nbatch_per_replica: 2\nsteps: 1\nnorm: syncbn\n"
      "model: {architecture: resnet8}\n",
      {8, 8, 1},
      5,
      {},
      &comm_,
      std::move(made_)};
  Optimizer optimizer_{bench_.graph, bench_.executor->program(), bench_.loaded.experiment.optimizer,
                       device_};
  Steps steps_{device_, optimizer_, bench_.memory, bench_.executor->queued(), true};
  const BatchView batch_{bench_.images.data(), bench_.labels.data(), bench_.ids.data()};
};

TEST_F(LostPeer, EndsAStepWithTheNameOfTheReduction) {
  FlightRecorder recorder;
  FlightHook flight(recorder, *bench_.executor);
  bench_.executor->add_hook(flight);
  start();
  EXPECT_THAT(lost_after(0.2), AllOf(HasSubstr("step 1 is not done on the device after 0 s"),
                                     HasSubstr("in the reduction of ")));
  // The watchdog's record says that this rank waits there.
  const std::vector<FlightEvent> events = recorder.last();
  EXPECT_EQ(events.back().kind, FlightKind::wait);
  EXPECT_THAT(events.back().name, HasSubstr("reduction of "));
  EXPECT_TRUE(comm_.given_up);  // or freeing the device's memory would wait for the peer
  comm_.peer = Peer::has_failed;
  EXPECT_EQ(lost_after(60.0), "the communicator has failed");
}

TEST_F(LostPeer, EndsARecordedStepAfterItsRecording) {
  comm_.peer = Peer::comes;
  for (int step = 0; step <= kRecordedFrom; ++step) {
    EXPECT_EQ(device_.recordings, 0);
    start();
    if (step < kRecordedFrom) steps_.finish(60.0);
  }
  EXPECT_EQ(device_.recordings, 1);
  EXPECT_EQ(device_.replays, 1);
  steps_.finish(60.0);
  comm_.peer = Peer::has_failed;  // seen while the host waits for the recorded step
  start();
  EXPECT_EQ(device_.recordings, 1);
  EXPECT_EQ(device_.replays, 2);
  EXPECT_EQ(lost_after(60.0), "the communicator has failed");
  EXPECT_EQ(comm_.recordings_when_given_up, 0);
}

TEST_F(LostPeer, EndsAHangingRecordedStepAfterItsRecording) {
  comm_.peer = Peer::comes;
  for (int step = 0; step < kRecordedFrom; ++step) {
    start();
    steps_.finish(60.0);
  }
  comm_.peer = Peer::hangs;
  start();
  EXPECT_EQ(device_.recordings, 1);
  EXPECT_EQ(device_.replays, 1);
  EXPECT_THAT(lost_after(0.2), HasSubstr("in the reduction of "));
  EXPECT_EQ(comm_.recordings_when_given_up, 0);
}

TEST_F(LostPeer, EndsTheRecordingOfAStep) {
  comm_.peer = Peer::comes;
  for (int step = 0; step < kRecordedFrom; ++step) {
    start();
    steps_.finish(60.0);
  }
  comm_.peer = Peer::has_failed;
  EXPECT_EQ(lost_in([&] { start(); }), "the communicator has failed");
  EXPECT_EQ(comm_.recordings_when_given_up, 0);
  device_.synchronize();  // ends the test's process while a step is recorded
}

}  // namespace
}  // namespace syncnorm::test
