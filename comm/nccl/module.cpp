// The NCCL communicator, a module loaded by load.cpp. Only this file includes nccl.h.
//
// Collectives are queued on the given stream and can be recorded there; a request is complete when
// the event after it is. NCCL never blocks the host, since its communicator is non-blocking. Long
// operations are polled with our own deadline. Every poll queries NCCL's asynchronous errors, so
// that a lost peer ends the job with a message.
#include <cuda_runtime.h>
#include <nccl.h>

#include <algorithm>
#include <cstdlib>
#include <memory>
#include <string>
#include <thread>
#include <utility>
#include <vector>

#include "base/clock.h"
#include "base/error.h"
#include "comm/nccl/nccl.h"

namespace syncnorm {
namespace {

void check_cuda(cudaError_t error, const char* call) {
  if (error != cudaSuccess)
    throw PeerLostError(std::string(call) + ": " + cudaGetErrorString(error));
}

ncclDataType_t nccl_type(DataType type) {
  return type == DataType::f32 ? ncclFloat32 : ncclFloat64;
}
std::size_t size_of(DataType type) {
  return type == DataType::f32 ? sizeof(float) : sizeof(double);
}

std::string to_hex(const ncclUniqueId& id) {
  static constexpr char kDigits[] = "0123456789abcdef";
  std::string text;
  for (const char byte : id.internal) {
    text += kDigits[static_cast<unsigned char>(byte) >> 4];
    text += kDigits[static_cast<unsigned char>(byte) & 15];
  }
  return text;
}

ncclUniqueId from_hex(const std::string& text) {
  ncclUniqueId id{};
  for (std::size_t i = 0; i < sizeof id.internal; ++i)
    id.internal[i] = static_cast<char>(std::stoi(text.substr(2 * i, 2), nullptr, 16));
  return id;
}

struct NcclRequest final : Request {
  NcclRequest() {
    check_cuda(cudaEventCreateWithFlags(&done, cudaEventDisableTiming), "cudaEventCreate");
  }
  ~NcclRequest() override { cudaEventDestroy(done); }
  NcclRequest(const NcclRequest&) = delete;
  NcclRequest& operator=(const NcclRequest&) = delete;
  cudaEvent_t done = nullptr;  // an event that was never recorded counts as done
};

class NcclCommunicator final : public Communicator {
 public:
  /// All communicators of the job on this rank that are alive: the first one and its subgroups.
  using Family = std::vector<NcclCommunicator*>;

  /// `owned` keeps a subgroup's bootstrap alive.
  NcclCommunicator(Communicator& bootstrap, cudaStream_t stream, std::shared_ptr<Family> family,
                   std::unique_ptr<Communicator> owned = nullptr)
      : owned_(std::move(owned)),
        bootstrap_(bootstrap),
        stream_(stream),
        family_(std::move(family)) {
    set_deadline(bootstrap.deadline());
    ncclUniqueId id{};
    const bool first = rank() == 0;
    if (first) settle(ncclGetUniqueId(&id), "ncclGetUniqueId");
    const std::vector<std::string> all =
        bootstrap.all_gather_text(version() + " " + (first ? to_hex(id) : ""));
    for (std::size_t r = 1; r < all.size(); ++r)
      if (all[r].substr(0, all[r].find(' ')) != all[0].substr(0, all[0].find(' ')))
        throw InputError("device: cuda: rank " + std::to_string(r) + " has NCCL " +
                         all[r].substr(0, all[r].find(' ')) + ", rank 0 has " +
                         all[0].substr(0, all[0].find(' ')) + "; all ranks need the same");
    id = from_hex(all.front().substr(all.front().find(' ') + 1));
    ncclConfig_t config = NCCL_CONFIG_INITIALIZER;
    config.blocking = 0;
    settle(ncclCommInitRankConfig(&comm_, size(), id, rank(), &config), "ncclCommInitRank");
    family_->push_back(this);
  }

  ~NcclCommunicator() override {
    if (comm_ != nullptr) close();
    std::erase(*family_, this);
  }
  NcclCommunicator(const NcclCommunicator&) = delete;
  NcclCommunicator& operator=(const NcclCommunicator&) = delete;

  int rank() const override { return bootstrap_.rank(); }
  int size() const override { return bootstrap_.size(); }

  std::string description() const override {
    return "nccl (" + version() + ") over " + bootstrap_.description();
  }
  static std::string version() {
    int v = 0;
    ncclGetVersion(&v);
    return std::to_string(v / 10000) + "." + std::to_string(v % 10000 / 100) + "." +
           std::to_string(v % 100);
  }

  std::unique_ptr<Communicator> subgroup(Interval ranks) override {
    std::unique_ptr<Communicator> part = bootstrap_.subgroup(ranks);
    Communicator& own = *part;
    return std::make_unique<NcclCommunicator>(own, stream_, family_, std::move(part));
  }

  std::unique_ptr<Request> make_request() override { return std::make_unique<NcclRequest>(); }

  void poll() override {
    if (comm_ == nullptr) throw PeerLostError("NCCL: this communicator was given up");
    ncclResult_t state = ncclSuccess;
    check(ncclCommGetAsyncError(comm_, &state), "ncclCommGetAsyncError");
    if (state != ncclInProgress) check(state, "a collective");
  }

  /// Aborts all communicators of the job in one group: an abort waits for the stream, where a
  /// collective of another communicator may hang, and for recordings that hold its collectives.
  void give_up() override {
    ncclGroupStart();
    for (NcclCommunicator* member : *family_) {
      if (member->comm_ != nullptr) ncclCommAbort(std::exchange(member->comm_, nullptr));
      member->failed_ = true;
    }
    ncclGroupEnd();
  }

  bool test(Request& request) override {
    poll();
    const cudaError_t done = cudaEventQuery(static_cast<NcclRequest&>(request).done);
    if (done == cudaErrorNotReady) return false;
    check_cuda(done, "a collective");
    return true;
  }

  std::vector<std::string> all_gather_text(const std::string& text) override {
    return bootstrap_.all_gather_text(text);
  }
  [[noreturn]] void abort(int exit_code) override {
    bootstrap_.abort(exit_code);
    std::_Exit(exit_code);
  }

 private:
  void check(ncclResult_t result, const char* call) {
    if (result == ncclSuccess) return;
    failed_ = true;
    const char* detail = comm_ != nullptr ? ncclGetLastError(comm_) : "";
    throw PeerLostError(
        "NCCL: " + std::string(call) + ": " + ncclGetErrorString(result) +
        (detail != nullptr && *detail != '\0' ? std::string(" (") + detail + ")" : ""));
  }

  /// Waits until NCCL has finished the host operation that `result` reports as in progress.
  void settle(ncclResult_t result, const char* call) {
    const auto begin = Clock::now();
    while (result == ncclInProgress) {
      const double waited = seconds_since(begin);
      if (waited > deadline()) {
        failed_ = true;
        throw PeerLostError("NCCL: " + std::string(call) + ": not done after " +
                            std::to_string(static_cast<int>(waited)) +
                            " s (fault.deadline): a peer is lost or stuck");
      }
      std::this_thread::yield();
      check(ncclCommGetAsyncError(comm_, &result), "ncclCommGetAsyncError");
    }
    check(result, call);
  }

  /// Leaves together with the other ranks if nothing has failed, otherwise alone. Never throws.
  void close() noexcept {
    if (!failed_) {
      try {
        settle(ncclCommFinalize(comm_), "ncclCommFinalize");
        ncclCommDestroy(comm_);
        return;
      } catch (const std::exception&) {  // settle() has recorded the failure
      }
    }
    give_up();
  }

  /// Queues `calls` as one group, followed by the request's event.
  template <class Calls>
  void collective(Request& request, const char* name, const Calls& calls) {
    check(ncclGroupStart(), "ncclGroupStart");
    try {
      calls();
    } catch (...) {
      ncclGroupEnd();  // else an abort would wait for its end
      throw;
    }
    settle(ncclGroupEnd(), name);
    check_cuda(cudaEventRecord(static_cast<NcclRequest&>(request).done, stream_),
               "cudaEventRecord");
  }

  void in_group(ncclResult_t result, const char* call) {
    if (result != ncclInProgress) check(result, call);
  }

  void do_all_gather(Request& request, const void* send, void* receive, std::span<const int> counts,
                     DataType type) override {
    collective(request, "all-gather", [&] {
      const auto even = [&](int count) { return count == counts[0]; };
      if (counts[0] > 0 && std::all_of(counts.begin(), counts.end(), even))
        return in_group(ncclAllGather(send, receive, static_cast<std::size_t>(counts[0]),
                                      nccl_type(type), comm_, stream_),
                        "ncclAllGather");
      auto* to = static_cast<std::byte*>(receive);
      for (int r = 0; r < size(); ++r) {
        const auto count = static_cast<std::size_t>(counts[static_cast<std::size_t>(r)]);
        if (count > 0)
          in_group(ncclBroadcast(send, to, count, nccl_type(type), r, comm_, stream_),
                   "ncclBroadcast");
        to += count * size_of(type);
      }
    });
  }

  void do_all_to_all(Request& request, const void* send, std::span<const int> send_counts,
                     void* receive, std::span<const int> receive_counts, DataType type) override {
    collective(request, "all-to-all", [&] {
      const auto* from = static_cast<const std::byte*>(send);
      auto* to = static_cast<std::byte*>(receive);
      for (int r = 0; r < size(); ++r) {
        const auto sent = static_cast<std::size_t>(send_counts[static_cast<std::size_t>(r)]);
        const auto got = static_cast<std::size_t>(receive_counts[static_cast<std::size_t>(r)]);
        if (sent > 0)
          in_group(ncclSend(from, sent, nccl_type(type), r, comm_, stream_), "ncclSend");
        if (got > 0) in_group(ncclRecv(to, got, nccl_type(type), r, comm_, stream_), "ncclRecv");
        from += sent * size_of(type);
        to += got * size_of(type);
      }
    });
  }

  void do_all_reduce(Request& request, const void* send, void* receive, int count, DataType type,
                     Combine combine) override {
    collective(request, "all-reduce", [&] {
      if (count > 0)
        in_group(ncclAllReduce(send, receive, static_cast<std::size_t>(count), nccl_type(type),
                               combine == Combine::sum ? ncclSum : ncclMax, comm_, stream_),
                 "ncclAllReduce");
    });
  }

  std::unique_ptr<Communicator> owned_;
  Communicator& bootstrap_;
  cudaStream_t stream_;
  const std::shared_ptr<Family> family_;
  ncclComm_t comm_ = nullptr;
  bool failed_ = false;
};

}  // namespace
}  // namespace syncnorm

/// See nccl_found().
extern "C" __attribute__((visibility("default"))) void syncnorm_nccl_found(std::string* text) {
  *text = "NCCL " + syncnorm::NcclCommunicator::version();
}

/// Returns a communicator over the ranks of `bootstrap`, owned by the caller.
extern "C" __attribute__((visibility("default"))) syncnorm::Communicator*
syncnorm_nccl_communicator(syncnorm::Communicator* bootstrap, void* stream) {
  using syncnorm::NcclCommunicator;
  return new NcclCommunicator(*bootstrap, static_cast<cudaStream_t>(stream),
                              std::make_shared<NcclCommunicator::Family>());
}
