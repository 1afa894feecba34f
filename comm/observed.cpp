// See observed.h.
#include "comm/observed.h"

#include <chrono>
#include <cstdlib>
#include <numeric>

#include "base/clock.h"

namespace syncnorm {
namespace {

struct ObservedRequest final : Request {
  std::unique_ptr<Request> inner;
  Clock::time_point ready;
};

/// Calls action with a null pointer of the C++ type for `type`.
template <class Action>
void with_type(DataType type, const Action& action) {
  if (type == DataType::f32)
    action(static_cast<float*>(nullptr));
  else
    action(static_cast<double*>(nullptr));
}

std::size_t total(std::span<const int> counts) {
  return std::accumulate(counts.begin(), counts.end(), std::size_t{0});
}

class ObservedCommunicator final : public Communicator {
 public:
  ObservedCommunicator(Communicator& inner, ObservedOptions options)
      : inner_(inner), options_(std::move(options)) {
    set_deadline(inner.deadline());
  }
  ObservedCommunicator(std::unique_ptr<Communicator> owned, ObservedOptions options)
      : ObservedCommunicator(*owned, std::move(options)) {
    owned_ = std::move(owned);
  }

  int rank() const override { return inner_.rank(); }
  int size() const override { return inner_.size(); }
  std::string description() const override { return inner_.description(); }
  std::unique_ptr<Communicator> subgroup(Interval ranks) override {
    auto group = std::make_unique<ObservedCommunicator>(inner_.subgroup(ranks), options_);
    group->set_deadline(deadline());
    return group;
  }
  bool exchanges() const override { return inner_.exchanges(); }
  std::unique_ptr<Request> make_request() override {
    auto request = std::make_unique<ObservedRequest>();
    request->inner = inner_.make_request();
    return request;
  }
  bool test(Request& request) override {
    auto& r = static_cast<ObservedRequest&>(request);
    return inner_.test(*r.inner) && Clock::now() >= r.ready;
  }
  void poll() override { inner_.poll(); }
  void give_up() override { inner_.give_up(); }
  std::vector<std::string> all_gather_text(const std::string& text) override {
    return inner_.all_gather_text(text);
  }
  [[noreturn]] void abort(int exit_code) override {
    inner_.abort(exit_code);
    std::_Exit(exit_code);  // the compiler does not know that the call above does not return
  }

 private:
  Request& started(Request& request, Collective kind, DataType type, std::size_t sent) {
    if (options_.on_start) options_.on_start({kind, type, sent, size()});
    auto& r = static_cast<ObservedRequest&>(request);
    r.ready = Clock::now() + std::chrono::duration_cast<Clock::duration>(
                                 std::chrono::duration<double>(options_.delay));
    return *r.inner;
  }

  void do_all_gather(Request& request, const void* send, void* receive, std::span<const int> counts,
                     DataType type) override {
    const auto sent = static_cast<std::size_t>(counts[static_cast<std::size_t>(rank())]);
    Request& inner = started(request, Collective::all_gather, type, sent);
    with_type(type, [&]<class T>(T*) {
      inner_.start_all_gather<T>(inner, {static_cast<const T*>(send), sent},
                                 {static_cast<T*>(receive), total(counts)}, counts);
    });
  }
  void do_all_to_all(Request& request, const void* send, std::span<const int> send_counts,
                     void* receive, std::span<const int> receive_counts, DataType type) override {
    const std::size_t sent = total(send_counts);
    Request& inner = started(request, Collective::all_to_all, type, sent);
    with_type(type, [&]<class T>(T*) {
      inner_.start_all_to_all<T>(inner, {static_cast<const T*>(send), sent}, send_counts,
                                 {static_cast<T*>(receive), total(receive_counts)}, receive_counts);
    });
  }
  void do_all_reduce(Request& request, const void* send, void* receive, int count, DataType type,
                     Combine combine) override {
    const auto values = static_cast<std::size_t>(count);
    Request& inner = started(request, Collective::all_reduce, type, values);
    with_type(type, [&]<class T>(T*) {
      inner_.start_all_reduce<T>(inner, {static_cast<const T*>(send), values},
                                 {static_cast<T*>(receive), values}, combine);
    });
  }

  void do_exchange(Request& request, int channel, int peer, const void* send, int send_count,
                   void* receive, int receive_count, DataType type) override {
    const auto sent = static_cast<std::size_t>(send_count);
    Request& inner = started(request, Collective::exchange, type, sent);
    if (receive_count == 0) static_cast<ObservedRequest&>(request).ready = {};  // no peer to await
    with_type(type, [&]<class T>(T*) {
      inner_.start_exchange<T>(inner, channel, peer, {static_cast<const T*>(send), sent},
                               {static_cast<T*>(receive), static_cast<std::size_t>(receive_count)});
    });
  }

  std::unique_ptr<Communicator> owned_;
  Communicator& inner_;
  ObservedOptions options_;
};

}  // namespace

std::unique_ptr<Communicator> make_observed_communicator(Communicator& inner,
                                                         ObservedOptions options) {
  return std::make_unique<ObservedCommunicator>(inner, std::move(options));
}

}  // namespace syncnorm
