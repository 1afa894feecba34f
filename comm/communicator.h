// Moving numbers between ranks: the small interface that every communicator implements.
//
// Data moves by non-blocking collectives on reusable requests; nothing here allocates after a
// request was made. A group of one is a supported no-op, so one program runs everywhere. Not
// thread-safe: one thread per rank communicates.
#pragma once

#include <cstddef>
#include <cstdint>
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
  /// "self", "mpi (Open MPI 4.1.4)", ...
  virtual std::string description() const = 0;

  /// The communicator of the ranks in `ranks`, which must include this one. Collective over exactly
  /// those ranks; calls that overlap must be made in the same order everywhere.
  virtual std::unique_ptr<Communicator> subgroup(Interval ranks) = 0;

  virtual std::unique_ptr<Request> make_request() = 0;

  /// Rank r contributes counts[r] values; all ranks receive all, in rank order. counts[rank()] is
  /// send.size(), and the counts add up to receive.size(). Counts must outlive the request's
  /// flight.
  template <class T>
  void start_all_gather(Request& request, std::span<const T> send, std::span<T> receive,
                        std::span<const int> counts) {
    do_all_gather(request, send.data(), receive.data(), counts, data_type<T>());
  }

  /// Sends send_counts[q] values to rank q and receives receive_counts[p] from rank p, in rank
  /// order.
  template <class T>
  void start_all_to_all(Request& request, std::span<const T> send, std::span<const int> send_counts,
                        std::span<T> receive, std::span<const int> receive_counts) {
    do_all_to_all(request, send.data(), send_counts, receive.data(), receive_counts,
                  data_type<T>());
  }

  /// The engine's own sum or maximum, in whatever order it likes. `send` may be `receive`.
  template <class T>
  void start_all_reduce(Request& request, std::span<const T> send, std::span<T> receive,
                        Combine combine = Combine::sum) {
    do_all_reduce(request, send.data(), receive.data(), static_cast<int>(send.size()),
                  data_type<T>(), combine);
  }

  /// Whether start_exchange() is there: point-to-point messages beside collectives.
  virtual bool exchanges() const { return false; }

  /// A number for the exchanges of one purpose, equal on all ranks that ask in the same order.
  int new_channel() { return channels_++; }

  /// Sends `send` to rank `peer` and receives `receive` from it; what is empty is no message.
  /// Messages of one channel between two ranks arrive in the order in which they were sent; those
  /// of different channels are independent. Requires exchanges().
  template <class T>
  void start_exchange(Request& request, int channel, int peer, std::span<const T> send,
                      std::span<T> receive) {
    do_exchange(request, channel, peer, send.data(), static_cast<int>(send.size()), receive.data(),
                static_cast<int>(receive.size()), data_type<T>());
  }

  /// True when the request is complete; makes progress. Complete requests stay complete.
  virtual bool test(Request& request) = 0;

  /// Throws PeerLostError when the communicator has failed, as far as that can be known without
  /// waiting.
  virtual void poll() {}

  /// Ends what is in flight, whatever the peers do; the communicator cannot be used again. So that
  /// memory which a lost peer's collective still holds can be freed.
  virtual void give_up() {}

  /// Waits; throws PeerLostError, naming `what`, after deadline() seconds without completion.
  void wait(Request& request, const char* what);

  /// Blocking control plane: every rank's text, in rank order, on every rank.
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

/// One rank, no library.
std::unique_ptr<Communicator> make_self_communicator();

/// All ranks that mpirun or srun started. The MPI back end is a module beside the program that is
/// loaded only here, so that a single rank needs no MPI installed. Throws InputError when it is
/// absent.
std::unique_ptr<Communicator> make_mpi_communicator();

/// True when this process was started by mpirun or by srun with PMIx.
bool launched_by_mpi();

}  // namespace syncnorm
