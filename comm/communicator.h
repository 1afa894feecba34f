// Communication between ranks: the small interface that every communicator implements.
//
// Data moves in non-blocking collectives on reusable requests; nothing is allocated after a request
// was made. A communicator of one rank is supported, so one program runs everywhere. Not
// thread-safe: one thread per rank communicates.
#pragma once

#include <cstddef>
#include <cstdint>
#include <functional>
#include <memory>
#include <span>
#include <string>
#include <vector>

#include "comm/replicas.h"
#include "comm/tree.h"

namespace syncnorm {

/// One collective in flight; made once by Communicator::make_request(), started many times.
class Request {
 public:
  virtual ~Request() = default;
};

enum class DataType { f32, f64 };

template <class T>
constexpr DataType data_type();
template <>
constexpr DataType data_type<float>() {
  return DataType::f32;
}
template <>
constexpr DataType data_type<double>() {
  return DataType::f64;
}

class Communicator {
 public:
  virtual ~Communicator() = default;
  virtual int rank() const = 0;
  virtual int size() const = 0;
  /// Returns "self", "mpi (Open MPI 4.1.4)", ...
  virtual std::string description() const = 0;

  /// Returns the communicator of the ranks in `ranks`, which must include this one. Collective over
  /// exactly those ranks; overlapping calls must be made in the same order everywhere.
  virtual std::unique_ptr<Communicator> subgroup(Interval ranks) = 0;

  virtual std::unique_ptr<Request> make_request() = 0;

  /// Gathers counts[r] values of each rank r on all ranks, in rank order. counts[rank()] must be
  /// send.size(), and the sum of counts receive.size(). Counts must stay valid while the request is
  /// in flight.
  template <class T>
  void start_all_gather(Request& request, std::span<const T> send, std::span<T> receive,
                        std::span<const int> counts) {
    do_all_gather(request, send.data(), receive.data(), counts, data_type<T>());
  }

  /// Sends send_counts[q] values to each rank q and receives receive_counts[p] from each rank p, in
  /// rank order.
  template <class T>
  void start_all_to_all(Request& request, std::span<const T> send, std::span<const int> send_counts,
                        std::span<T> receive, std::span<const int> receive_counts) {
    do_all_to_all(request, send.data(), send_counts, receive.data(), receive_counts,
                  data_type<T>());
  }

  /// Computes the sum or maximum with the engine's own algorithm, in any order. `send` may be
  /// `receive`.
  template <class T>
  void start_all_reduce(Request& request, std::span<const T> send, std::span<T> receive,
                        Combine combine = Combine::sum) {
    do_all_reduce(request, send.data(), receive.data(), static_cast<int>(send.size()),
                  data_type<T>(), combine);
  }

  /// Returns true if start_exchange() is supported: point-to-point messages besides collectives.
  virtual bool exchanges() const { return false; }

  /// Returns a channel number for the exchanges of one purpose, equal on all ranks that call this
  /// in the same order.
  int new_channel() { return channels_++; }

  /// Sends `send` to rank `peer` and receives `receive` from it; an empty span means no message.
  /// Messages of one channel between two ranks arrive in the order in which they were sent;
  /// different channels are independent. Requires exchanges().
  template <class T>
  void start_exchange(Request& request, int channel, int peer, std::span<const T> send,
                      std::span<T> receive) {
    do_exchange(request, channel, peer, send.data(), static_cast<int>(send.size()), receive.data(),
                static_cast<int>(receive.size()), data_type<T>());
  }

  /// Drives progress and returns true if the request is complete. Complete requests stay complete.
  virtual bool test(Request& request) = 0;

  /// Throws PeerLostError if the communicator has failed, as far as this is known without waiting.
  virtual void poll() {}

  /// Ends all collectives in flight, so that memory held by a lost peer's collective can be freed.
  /// The communicator and its subgroups cannot be used again. Recorded steps that hold their
  /// collectives must have been released before: NCCL waits for that.
  virtual void give_up() {}

  /// Waits for the request. Throws PeerLostError, which mentions `what`, after deadline() seconds.
  void wait(Request& request, const char* what);

  /// Returns every rank's text, in rank order, on every rank. A blocking control-plane operation.
  virtual std::vector<std::string> all_gather_text(const std::string& text) = 0;

  void set_deadline(double seconds) { deadline_ = seconds; }
  double deadline() const { return deadline_; }

  /// Ends all ranks of the job with `exit_code`; does not return.
  [[noreturn]] virtual void abort(int exit_code) = 0;

 private:
  virtual void do_all_gather(Request& request, const void* send, void* receive,
                             std::span<const int> counts, DataType type) = 0;
  virtual void do_all_to_all(Request& request, const void* send, std::span<const int> send_counts,
                             void* receive, std::span<const int> receive_counts, DataType type) = 0;
  virtual void do_all_reduce(Request& request, const void* send, void* receive, int count,
                             DataType type, Combine combine) = 0;
  virtual void do_exchange(Request& request, int channel, int peer, const void* send,
                           int send_count, void* receive, int receive_count, DataType type);

  int channels_ = 0;
  double deadline_ = 600.0;
};

/// Makes a communicator of one rank, without any library.
std::unique_ptr<Communicator> make_self_communicator();
/// The same for memory that the host cannot read: `copy` makes or queues the copy that a collective
/// of one rank is.
using CopyFunction = std::function<void(void* to, const void* from, std::size_t bytes)>;
std::unique_ptr<Communicator> make_self_communicator(CopyFunction copy);

/// Makes the communicator of all ranks that mpirun or srun started. The MPI back end is a module
/// next to the program that is loaded only here, so that a single rank does not need MPI. Throws
/// InputError if it is missing.
std::unique_ptr<Communicator> make_mpi_communicator();

/// Returns true if this process was started by mpirun, or by srun with PMIx.
bool launched_by_mpi();

}  // namespace syncnorm
