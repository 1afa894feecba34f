// A communicator of the device's, for tests whose values are in the host's memory: they go to the
// device and come back. So the tests of one communicator are those of the others.
#pragma once

#include <cstring>
#include <memory>
#include <utility>

#include "comm/communicator.h"
#include "kernels/device.h"

namespace syncnorm::test {

class HostedCommunicator final : public Communicator {
 public:
  /// `under`'s collectives are queued on `device`'s communication queue.
  HostedCommunicator(std::unique_ptr<Communicator> under, Device& device)
      : under_(std::move(under)), device_(device) {
    Communicator::set_deadline(under_->deadline());
  }

  int rank() const override { return under_->rank(); }
  int size() const override { return under_->size(); }
  std::string description() const override { return under_->description(); }
  std::unique_ptr<Communicator> subgroup(Interval ranks) override {
    auto part = std::make_unique<HostedCommunicator>(under_->subgroup(ranks), device_);
    part->set_deadline(deadline());
    return part;
  }
  std::unique_ptr<Request> make_request() override {
    return std::make_unique<HostedRequest>(under_->make_request(), device_.make_event());
  }
  void poll() override { under_->poll(); }
  void give_up() override { under_->give_up(); }
  bool test(Request& request) override {
    auto& own = static_cast<HostedRequest&>(request);
    under_->poll();
    if (!own.in_flight) return true;
    if (!device_.done(*own.back)) return false;
    if (own.bytes > 0) std::memcpy(own.receive, own.result.data(), own.bytes);
    own.in_flight = false;
    return true;
  }
  std::vector<std::string> all_gather_text(const std::string& text) override {
    return under_->all_gather_text(text);
  }
  [[noreturn]] void abort(int exit_code) override {
    under_->abort(exit_code);
    std::_Exit(exit_code);
  }

 private:
  struct HostedRequest final : Request {
    HostedRequest(std::unique_ptr<Request> request, std::unique_ptr<Event> event)
        : under(std::move(request)), back(std::move(event)) {}
    std::unique_ptr<Request> under;
    std::unique_ptr<Event> back;
    Buffer sent, received, result;  // on the device; the result on the host, pinned
    void* receive = nullptr;        // where the result belongs
    std::size_t bytes = 0;
    bool in_flight = false;
  };

  static std::size_t sum(std::span<const int> counts) {
    std::size_t total = 0;
    for (const int count : counts) total += static_cast<std::size_t>(count);
    return total;
  }

  /// start(T{}, send, receive) on the device's memory.
  template <class Start>
  void carry(Request& request, const void* send, std::size_t sent, void* receive,
             std::size_t received, DataType type, const Start& start) {
    auto& own = static_cast<HostedRequest&>(request);
    const std::size_t size = type == DataType::f32 ? sizeof(float) : sizeof(double);
    own.sent = device_.allocate(sent * size + size);  // never null
    own.received = device_.allocate(received * size + size);
    own.result = device_.allocate_pinned(received * size + size);
    own.bytes = received * size;
    const Queue before = device_.use_queue(Queue::communication);
    device_.copy(own.sent.data(), send, sent * size);
    if (type == DataType::f32)
      start(*own.under, own.sent.as<float>().first(sent), own.received.as<float>().first(received));
    else
      start(*own.under, own.sent.as<double>().first(sent),
            own.received.as<double>().first(received));
    device_.copy(own.result.data(), own.received.data(), own.bytes);
    device_.record(*own.back);
    device_.use_queue(before);
    own.receive = receive;
    own.in_flight = true;
  }
  void do_all_gather(Request& request, const void* send, void* receive, std::span<const int> counts,
                     DataType type) override {
    carry(request, send, static_cast<std::size_t>(counts[static_cast<std::size_t>(rank())]),
          receive, sum(counts), type, [&]<class T>(Request& r, std::span<T> s, std::span<T> to) {
            under_->start_all_gather<T>(r, s, to, counts);
          });
  }
  void do_all_to_all(Request& request, const void* send, std::span<const int> send_counts,
                     void* receive, std::span<const int> receive_counts, DataType type) override {
    carry(request, send, sum(send_counts), receive, sum(receive_counts), type,
          [&]<class T>(Request& r, std::span<T> s, std::span<T> to) {
            under_->start_all_to_all<T>(r, s, send_counts, to, receive_counts);
          });
  }
  void do_all_reduce(Request& request, const void* send, void* receive, int count, DataType type,
                     Combine combine) override {
    const auto n = static_cast<std::size_t>(count);
    carry(request, send, n, receive, n, type,
          [&]<class T>(Request& r, std::span<T> s, std::span<T> to) {
            under_->start_all_reduce<T>(r, s, to, combine);
          });
  }

  std::unique_ptr<Communicator> under_;
  Device& device_;
};

}  // namespace syncnorm::test
