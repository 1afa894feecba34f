// The MPI communicator, a module loaded by load.cpp. Only this file includes mpi.h.
//
// The world communicator initializes and finalizes MPI. MPI returns its errors, and they are
// thrown, so that main() can report them instead of MPI ending the process.
#include <mpi.h>

#include <algorithm>
#include <cassert>
#include <csignal>
#include <cstdio>
#include <cstdlib>
#include <cstring>
#include <numeric>

#include "base/error.h"
#include "comm/communicator.h"

namespace syncnorm {
namespace {

void check(int code, const char* call) {
  if (code == MPI_SUCCESS) return;
  char text[MPI_MAX_ERROR_STRING];
  int length = 0;
  MPI_Error_string(code, text, &length);
  throw PeerLostError(std::string(call) + ": " + std::string(text, static_cast<size_t>(length)));
}

MPI_Datatype mpi_type(DataType type) { return type == DataType::f32 ? MPI_FLOAT : MPI_DOUBLE; }
size_t size_of(DataType type) { return type == DataType::f32 ? sizeof(float) : sizeof(double); }

/// Owns counts and displacements, which must live as long as the collective.
struct MpiRequest final : Request {
  MPI_Request handle = MPI_REQUEST_NULL;  // of a collective, or of a receive
  MPI_Request sending = MPI_REQUEST_NULL;
  std::vector<int> send_displacements, receive_displacements;
};

void prefix_sums(std::span<const int> counts, std::vector<int>& out) {
  out.resize(counts.size());
  std::exclusive_scan(counts.begin(), counts.end(), out.begin(), 0);
}

class MpiCommunicator final : public Communicator {
 public:
  explicit MpiCommunicator(MPI_Comm comm, bool world) : comm_(comm), world_(world) {
    check(MPI_Comm_set_errhandler(comm_, MPI_ERRORS_RETURN), "MPI_Comm_set_errhandler");
    check(MPI_Comm_rank(comm_, &rank_), "MPI_Comm_rank");
    check(MPI_Comm_size(comm_, &size_), "MPI_Comm_size");
  }
  ~MpiCommunicator() override {
    if (world_)
      MPI_Finalize();
    else
      MPI_Comm_free(&comm_);
  }

  int rank() const override { return rank_; }
  int size() const override { return size_; }

  std::string description() const override {
    char text[MPI_MAX_LIBRARY_VERSION_STRING];
    int length = 0;
    MPI_Get_library_version(text, &length);
    const std::string version(text, static_cast<size_t>(length));
    return "mpi (" + version.substr(0, version.find(',')) + ")";
  }

  std::unique_ptr<Communicator> subgroup(Interval ranks) override {
    assert(rank_ >= ranks.begin && rank_ < ranks.end);
    MPI_Group all = MPI_GROUP_NULL, part = MPI_GROUP_NULL;
    check(MPI_Comm_group(comm_, &all), "MPI_Comm_group");
    int range[1][3] = {{ranks.begin, ranks.end - 1, 1}};
    check(MPI_Group_range_incl(all, 1, range, &part), "MPI_Group_range_incl");
    MPI_Comm created = MPI_COMM_NULL;
    check(MPI_Comm_create_group(comm_, part, ranks.begin, &created), "MPI_Comm_create_group");
    MPI_Group_free(&part);
    MPI_Group_free(&all);
    auto group = std::make_unique<MpiCommunicator>(created, false);
    group->set_deadline(deadline());
    return group;
  }

  std::unique_ptr<Request> make_request() override { return std::make_unique<MpiRequest>(); }

  bool test(Request& request) override {
    auto& r = static_cast<MpiRequest&>(request);
    return done(r.handle) && done(r.sending);
  }

  bool exchanges() const override { return true; }

  std::vector<std::string> all_gather_text(const std::string& text) override {
    const int length = static_cast<int>(text.size());
    std::vector<int> lengths(static_cast<size_t>(size_)), offsets;
    check(MPI_Allgather(&length, 1, MPI_INT, lengths.data(), 1, MPI_INT, comm_), "MPI_Allgather");
    prefix_sums(lengths, offsets);
    std::string all(static_cast<size_t>(offsets.back() + lengths.back()), '\0');
    check(MPI_Allgatherv(text.data(), length, MPI_BYTE, all.data(), lengths.data(), offsets.data(),
                         MPI_BYTE, comm_),
          "MPI_Allgatherv");
    std::vector<std::string> texts;
    for (size_t r = 0; r < lengths.size(); ++r)
      texts.push_back(all.substr(static_cast<size_t>(offsets[r]), static_cast<size_t>(lengths[r])));
    return texts;
  }

  [[noreturn]] void abort(int exit_code) override {
    MPI_Abort(MPI_COMM_WORLD, exit_code);
    std::_Exit(exit_code);
  }

 private:
  static MpiRequest& idle(Request& request) {
    auto& r = static_cast<MpiRequest&>(request);
    assert(r.handle == MPI_REQUEST_NULL && r.sending == MPI_REQUEST_NULL);
    return r;
  }
  static bool done(MPI_Request& handle) {
    if (handle == MPI_REQUEST_NULL) return true;
    int complete = 0;
    check(MPI_Test(&handle, &complete, MPI_STATUS_IGNORE), "MPI_Test");
    return complete != 0;
  }
  void do_exchange(Request& request, int channel, int peer, const void* send, int send_count,
                   void* receive, int receive_count, DataType type) override {
    MpiRequest& r = idle(request);
    constexpr int kTags = 32768;  // the tags that every MPI supports
    const int tag = channel % kTags;
    if (receive_count > 0)
      check(MPI_Irecv(receive, receive_count, mpi_type(type), peer, tag, comm_, &r.handle),
            "MPI_Irecv");
    if (send_count > 0)
      check(MPI_Isend(send, send_count, mpi_type(type), peer, tag, comm_, &r.sending), "MPI_Isend");
  }
  void do_all_gather(Request& request, const void* send, void* receive, std::span<const int> counts,
                     DataType type) override {
    MpiRequest& r = idle(request);
    prefix_sums(counts, r.receive_displacements);
    check(MPI_Iallgatherv(send, counts[static_cast<size_t>(rank_)], mpi_type(type), receive,
                          counts.data(), r.receive_displacements.data(), mpi_type(type), comm_,
                          &r.handle),
          "MPI_Iallgatherv");
  }
  void do_all_to_all(Request& request, const void* send, std::span<const int> send_counts,
                     void* receive, std::span<const int> receive_counts, DataType type) override {
    MpiRequest& r = idle(request);
    prefix_sums(send_counts, r.send_displacements);
    prefix_sums(receive_counts, r.receive_displacements);
    check(MPI_Ialltoallv(send, send_counts.data(), r.send_displacements.data(), mpi_type(type),
                         receive, receive_counts.data(), r.receive_displacements.data(),
                         mpi_type(type), comm_, &r.handle),
          "MPI_Ialltoallv");
  }
  void do_all_reduce(Request& request, const void* send, void* receive, int count, DataType type,
                     Combine combine) override {
    MpiRequest& r = idle(request);
    // MPI requires "in place" on all ranks or none, and a rank does not know what the others pass.
    if (send != receive && count > 0)
      std::memcpy(receive, send, static_cast<size_t>(count) * size_of(type));
    const MPI_Op op = combine == Combine::sum ? MPI_SUM : MPI_MAX;
    check(MPI_Iallreduce(MPI_IN_PLACE, receive, count, mpi_type(type), op, comm_, &r.handle),
          "MPI_Iallreduce");
  }

  MPI_Comm comm_;
  bool world_;
  int rank_ = 0;
  int size_ = 1;
};

}  // namespace
}  // namespace syncnorm

/// Runs Open MPI's crash handlers, which report crashes, on the thread's stack for handlers:
/// generated code may point its stack pointer elsewhere (comm/watchdog.cpp).
static void move_crash_handlers() {
  for (const int signal : {SIGABRT, SIGBUS, SIGFPE, SIGSEGV}) {
    struct sigaction action = {};
    if (sigaction(signal, nullptr, &action) != 0 || action.sa_handler == SIG_DFL) continue;
    action.sa_flags |= SA_ONSTACK;
    sigaction(signal, &action, nullptr);
  }
}

/// Tells launch/job.sh, which reads the standard error of its ranks, that MPI is initialized.
static void say_ready() {
  if (const char* word = std::getenv("SYNCNORM_READY")) std::fprintf(stderr, "%s\n", word);
}

/// The module's only entry: returns the world communicator, owned by the caller.
extern "C" syncnorm::Communicator* syncnorm_mpi_world() {
  int provided = 0;
  MPI_Init_thread(nullptr, nullptr, MPI_THREAD_FUNNELED, &provided);
  move_crash_handlers();
  say_ready();
  return new syncnorm::MpiCommunicator(MPI_COMM_WORLD, true);
}
