// A device like a GPU, that computes on the CPU: its memory is out of the host's reach, what is
// queued runs later, and its queues take turns at random, ordered by events alone.
//
// What the device allocates is unmapped except while its queues run, so a pointer that the engine
// follows by itself ends the test with a fault. Copies read and write when they run, not when they
// are queued: a host buffer that is used again too early, or an order that only the host's calls
// have, gives wrong values. A recorded step runs with the state that was set before its replay.
#pragma once

#include <sys/mman.h>

#include <algorithm>
#include <array>
#include <cstdio>
#include <cstdlib>
#include <deque>
#include <functional>
#include <memory>
#include <random>
#include <string>
#include <utility>
#include <vector>

#include "base/error.h"
#include "comm/communicator.h"
#include "kernels/device.h"

namespace syncnorm::test {

class RemoteDevice final : public Device {
 public:
  explicit RemoteDevice(std::unique_ptr<Device> inner, unsigned seed = 1)
      : inner_(std::move(inner)), random_(seed) {
    void* data =
        mmap(nullptr, kReserved, PROT_NONE, MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE, -1, 0);
    if (data == MAP_FAILED) fail("no address space");
    memory_ = static_cast<std::byte*>(data);
  }
  ~RemoteDevice() override { munmap(memory_, kReserved); }
  RemoteDevice(const RemoteDevice&) = delete;
  RemoteDevice& operator=(const RemoteDevice&) = delete;

  void use_storage(Storage storage, bool emulate) override {
    inner_->use_storage(storage, emulate);
  }
  std::unique_ptr<Kernel> compile(const Op& op) override {
    refuse_while_recording("compile");
    return std::make_unique<RemoteKernel>(*this, inner_->compile(op));
  }
  std::size_t packed_bytes(const ConvPack& op) override { return inner_->packed_bytes(op); }
  std::size_t workspace_bytes(const PoolForward& op) override {
    return inner_->workspace_bytes(op);
  }
  std::string description() const override { return inner_->description(); }

  bool batches_replicas() const override { return true; }
  bool merges(const Op& op, int) override { return per_sample(op); }
  bool host_memory() const override { return false; }
  Buffer allocate_pinned(std::size_t bytes) override {
    refuse_while_recording("allocate");
    Buffer buffer = inner_->allocate(bytes);
    pinned_.emplace_back(buffer.data(), buffer.data() + bytes);
    return buffer;
  }
  /// Zeroed, and never given out twice: a test is short.
  Buffer allocate(std::size_t bytes) override {
    refuse_while_recording("allocate");
    if (bytes == 0) return {};
    constexpr std::size_t kPage = 4096;
    std::byte* data = memory_ + used_;
    if (used_ + bytes > most_bytes) throw InputError("the GPU is full");
    used_ += (bytes + kPage - 1) / kPage * kPage;
    if (used_ > kReserved) fail("the test's device is full");
    return {data, bytes, [](std::byte*) {}};
  }
  void copy(void* to, const void* from, std::size_t bytes) override {
    if (bytes > 0 && !(runs_asynchronously(to) && runs_asynchronously(from))) ++pageable_copies;
    enqueue([=, this] { inner_->copy(to, from, bytes); });
  }
  void zero(void* to, std::size_t bytes) override {
    enqueue([=, this] { inner_->zero(to, bytes); });
  }
  void write(void* to, const void* from, std::size_t bytes) override {
    if (bytes > kMostWritten) fail("too many bytes for a write");
    const auto* first = static_cast<const std::byte*>(from);
    enqueue([this, to, value = std::vector(first, first + bytes)] {
      inner_->copy(to, value.data(), value.size());
    });
  }
  void synchronize() override {
    refuse_while_recording("wait");
    run_until([this] { return std::all_of(queues_.begin(), queues_.end(), is_empty); });
  }

  std::unique_ptr<Event> make_event() override { return std::make_unique<RemoteEvent>(); }
  void record(Event& event) override {
    RemoteEvent& e = as_remote(event);
    call([this, &e, queue = current_] {
      const int ticket = ++e.issued;
      push(queue, {[&e, ticket] { e.reached = ticket; }, nullptr, 0, false});
    });
    if (recording_ != nullptr && current_ == Queue::communication) loose_ = false;
  }
  void run_after(Event& event) override {
    RemoteEvent& e = as_remote(event);
    call([this, &e, queue = current_] { push(queue, {[] {}, &e, e.issued, false}); });
  }
  bool done(Event& event) override {
    refuse_while_recording("ask");
    RemoteEvent& e = as_remote(event);
    int left = 5;  // the device gets a little further each time somebody asks
    run_until([&] { return e.reached >= e.issued || left-- == 0; });
    return e.reached >= e.issued;
  }
  void wait(Event& event) override {
    refuse_while_recording("wait");
    RemoteEvent& e = as_remote(event);
    run_until([&] { return e.reached >= e.issued; });
  }
  Queue use_queue(Queue queue) override { return std::exchange(current_, queue); }
  void* native_queue(Queue queue) override { return &queues_[static_cast<std::size_t>(queue)]; }

  bool records() const override { return true; }
  void begin_recording() override {
    recording_ = std::make_unique<RemoteRecording>(recordings);
    loose_ = false;
  }
  std::unique_ptr<Recording> end_recording() override {
    if (loose_) fail("recorded work that no event follows");
    return std::move(recording_);
  }
  void cancel_recording() noexcept override {
    recording_.reset();
    loose_ = false;
  }
  void replay(Recording& recording) override {
    ++replays;
    for (const auto& made : static_cast<RemoteRecording&>(recording).calls) made();
  }
  void set_state(const StepState& state) override {
    refuse_while_recording("set the state");
    enqueue([this, state] { state_ = state; });
  }

  /// Queues anything on the current queue; the device's memory can be used while it runs.
  void enqueue(std::function<void()> work) {
    if (recording_ != nullptr && current_ == Queue::communication) loose_ = true;
    call([this, queue = current_, work = std::move(work)] {
      push(queue, {work, nullptr, 0, false});
    });
  }

  /// A collective whose peer never comes: what is behind it on the current queue never runs.
  void hang() {
    call([this, queue = current_] { push(queue, {[] {}, nullptr, 0, true}); });
  }

  int replays = 0;
  int recordings = 0;       // not released yet
  int pageable_copies = 0;  // from or to host memory that allocate_pinned() did not return
  static constexpr std::size_t kReserved = std::size_t{1} << 30;
  std::size_t most_bytes = kReserved;  // less: it runs out of memory

 private:
  struct RemoteEvent final : Event {
    int issued = 0, reached = 0;  // how often it was recorded, and which of these was reached
  };
  struct RemoteRecording final : Recording {
    explicit RemoteRecording(int& alive) : count(alive) { ++count; }
    ~RemoteRecording() override { --count; }
    RemoteRecording(const RemoteRecording&) = delete;
    RemoteRecording& operator=(const RemoteRecording&) = delete;
    int& count;
    std::vector<std::function<void()>> calls;
  };
  struct Item {
    std::function<void()> work;
    RemoteEvent* after;  // it may run when this was reached for the `ticket`th time
    int ticket;
    bool hangs = false;
    bool ready() const { return !hangs && (after == nullptr || after->reached >= ticket); }
  };
  static bool is_empty(const std::deque<Item>& items) { return items.empty(); }
  class RemoteKernel final : public Kernel {
   public:
    RemoteKernel(RemoteDevice& device, std::unique_ptr<Kernel> kernel)
        : device_(device), kernel_(std::move(kernel)) {}
    void run(std::span<void* const> args, const StepState& state) override {
      const bool recorded = device_.recording_ != nullptr;
      device_.enqueue([this, list = std::vector(args.begin(), args.end()), state, recorded] {
        kernel_->run(list, recorded ? device_.state_ : state);
      });
    }

   private:
    RemoteDevice& device_;
    std::unique_ptr<Kernel> kernel_;
  };

  [[noreturn]] static void fail(const char* what) {
    std::fprintf(stderr, "remote device: %s\n", what);
    std::abort();
  }
  bool runs_asynchronously(const void* address) const {
    const auto* at = static_cast<const std::byte*>(address);
    return (at >= memory_ && at < memory_ + kReserved) ||
           std::any_of(pinned_.begin(), pinned_.end(),
                       [at](const auto& range) { return at >= range.first && at < range.second; });
  }
  static RemoteEvent& as_remote(Event& event) { return static_cast<RemoteEvent&>(event); }
  void refuse_while_recording(const char* what) {
    if (recording_ == nullptr) return;
    std::fprintf(stderr, "remote device: nothing may %s while a step is recorded\n", what);
    std::abort();
  }
  /// Makes a call now, or keeps it for the replays.
  void call(std::function<void()> made) {
    if (recording_ == nullptr)
      made();
    else
      recording_->calls.push_back(std::move(made));
  }
  void push(Queue queue, Item item) {
    queues_[static_cast<std::size_t>(queue)].push_back(std::move(item));
  }

  template <class Done>
  void run_until(const Done& done) {
    protect(PROT_READ | PROT_WRITE);
    while (!done()) {
      if (std::all_of(queues_.begin(), queues_.end(), is_empty)) break;
      std::size_t queue = random_() % kQueues;
      const auto can_go_on = [](const std::deque<Item>& items) {
        return !items.empty() && items.front().ready();
      };
      for (std::size_t tried = 0; !can_go_on(queues_[queue]); ++tried) {
        if (tried == kQueues) return stuck();
        queue = (queue + 1) % kQueues;
      }
      const Item item = std::move(queues_[queue].front());
      queues_[queue].pop_front();
      item.work();
    }
    protect(PROT_NONE);
  }
  /// Nothing can go on; that is right only where a collective hangs.
  void stuck() const {
    for (const auto& items : queues_)
      if (!items.empty() && items.front().hangs) return protect(PROT_NONE);
    fail("the queues wait for each other");
  }
  void protect(int how) const {
    if (used_ > 0) mprotect(memory_, used_, how);
  }

  std::unique_ptr<Device> inner_;
  std::mt19937 random_;
  std::byte* memory_ = nullptr;
  std::size_t used_ = 0;
  std::vector<std::pair<const std::byte*, const std::byte*>> pinned_;  // those that were freed, too
  std::array<std::deque<Item>, kQueues> queues_;
  Queue current_ = Queue::compute;
  StepState state_;
  std::unique_ptr<RemoteRecording> recording_;
  bool loose_ = false;  // the communication queue holds recorded work without an event behind it
};

/// Collectives that are queued on a RemoteDevice and done by another communicator when their turn
/// comes, as NCCL's are.
class QueuedCommunicator final : public Communicator {
 public:
  QueuedCommunicator(Communicator& under, RemoteDevice& device) : under_(under), device_(device) {}

  int rank() const override { return under_.rank(); }
  int size() const override { return under_.size(); }
  std::string description() const override { return under_.description(); }
  std::unique_ptr<Communicator> subgroup(Interval ranks) override {
    auto part = under_.subgroup(ranks);
    auto queued = std::make_unique<QueuedCommunicator>(*part, device_);
    queued->owned_ = std::move(part);
    return queued;
  }
  std::unique_ptr<Request> make_request() override { return under_.make_request(); }
  bool test(Request&) override { return true; }
  std::vector<std::string> all_gather_text(const std::string& text) override {
    return under_.all_gather_text(text);
  }
  [[noreturn]] void abort(int exit_code) override {
    under_.abort(exit_code);
    std::_Exit(exit_code);
  }

 private:
  template <class T>
  static std::span<T> values(void* data, std::size_t count) {
    return {static_cast<T*>(data), count};
  }
  template <class T>
  static std::span<const T> values(const void* data, std::size_t count) {
    return {static_cast<const T*>(data), count};
  }
  static std::size_t sum(std::span<const int> counts) {
    std::size_t total = 0;
    for (const int count : counts) total += static_cast<std::size_t>(count);
    return total;
  }
  /// Queues start(T{}) and waiting for it.
  template <class Start>
  void queue(Request& request, DataType type, Start start) {
    device_.enqueue([this, &request, type, start] {
      if (type == DataType::f32)
        start(float{});
      else
        start(double{});
      under_.wait(request, "a queued collective");
    });
  }
  void do_all_gather(Request& request, const void* send, void* receive, std::span<const int> counts,
                     DataType type) override {
    queue(request, type, [=, this, &request]<class T>(T) {
      const auto own = static_cast<std::size_t>(counts[static_cast<std::size_t>(rank())]);
      under_.start_all_gather<T>(request, values<T>(send, own), values<T>(receive, sum(counts)),
                                 counts);
    });
  }
  void do_all_to_all(Request& request, const void* send, std::span<const int> send_counts,
                     void* receive, std::span<const int> receive_counts, DataType type) override {
    queue(request, type, [=, this, &request]<class T>(T) {
      under_.start_all_to_all<T>(request, values<T>(send, sum(send_counts)), send_counts,
                                 values<T>(receive, sum(receive_counts)), receive_counts);
    });
  }
  void do_all_reduce(Request& request, const void* send, void* receive, int count, DataType type,
                     Combine combine) override {
    queue(request, type, [=, this, &request]<class T>(T) {
      const auto n = static_cast<std::size_t>(count);
      under_.start_all_reduce<T>(request, values<T>(send, n), values<T>(receive, n), combine);
    });
  }

  Communicator& under_;
  RemoteDevice& device_;
  std::unique_ptr<Communicator> owned_;
};

}  // namespace syncnorm::test
