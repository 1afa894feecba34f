// One step of `syncnorm plan --ranks` as real MPI calls under SimGrid's SMPI: sleeps where it
// computes, and the messages of comm/reduction.cpp where it reduces, with buffers that all ranks
// share. Prints the simulated seconds of the slowest rank. Started by tests/simgrid/run.
#include <mpi.h>

#include <bit>
#include <cstdio>
#include <fstream>
#include <numeric>
#include <simgrid/s4u.hpp>
#include <sstream>
#include <string>
#include <vector>

#include "comm/reduction_plan.h"

namespace {

using syncnorm::ExchangeRound;

struct Sum {
  bool statistics = false;
  std::size_t values = 0, bytes_per_value = 8;
};
struct Item {
  std::string kind;
  double seconds = 0.0;
  int reduction = -1;
};
struct Step {
  std::vector<Sum> sums;
  std::vector<Item> items;
  double update = 0.0;
};

Step read_step(const char* path) {
  Step step;
  std::ifstream in(path);
  for (std::string line; std::getline(in, line);) {
    std::istringstream words(line);
    std::string what;
    words >> what;
    if (what == "sum") {
      Sum sum;
      words >> sum.statistics >> sum.values >> sum.bytes_per_value;
      step.sums.push_back(sum);
    } else if (what == "update") {
      words >> step.update;
    } else {
      Item item{what, 0.0, -1};
      words >> item.seconds >> item.reduction;
      step.items.push_back(item);
    }
  }
  return step;
}

std::vector<char> sent, received;  // of all ranks, who read nothing of it

/// One reduction of one rank; the states of comm/reduction.cpp.
class Reduction {
 public:
  Reduction(MPI_Comm comm, const Sum& sum, int tag) : comm_(comm), sum_(sum), tag_(tag) {
    MPI_Comm_rank(comm, &rank_);
    MPI_Comm_size(comm, &size_);
    const auto ranks = static_cast<std::size_t>(size_);
    sliced_ = sum.values * sum.bytes_per_value > syncnorm::ReductionPlan::kLargeBytes &&
              sum.values >= ranks;
    if (size_ >= syncnorm::ReductionPlan::kExchangeRanks &&
        (std::has_single_bit(ranks) || !sliced_))
      rounds_ = syncnorm::exchange_rounds(rank_, size_, sum.values, sliced_);
    if (!rounds_.empty()) return;
    // The second collective of a sliced reduction starts at its own moment on every rank.
    if (sliced_) MPI_Comm_dup(comm, &comm_);
    const std::size_t bytes = sum.values * sum.bytes_per_value;
    counts_.assign(ranks, static_cast<int>(sliced_ ? bytes / ranks : bytes));
    places_.assign(ranks, 0);
  }
  void start() {
    if (size_ == 1) return;
    phase_ = 1;
    round_ = 0;
    if (!rounds_.empty()) return exchange();
    if (sliced_)
      MPI_Ialltoallv(sent.data(), counts_.data(), places_.data(), MPI_BYTE, received.data(),
                     counts_.data(), places_.data(), MPI_BYTE, comm_, requests_);
    else
      gather();
  }
  void wait() {
    while (phase_ > 0) {
      MPI_Waitall(2, requests_, MPI_STATUSES_IGNORE);
      advance();
    }
  }
  void test() {
    while (phase_ > 0) {
      int done = 0;
      MPI_Testall(2, requests_, &done, MPI_STATUSES_IGNORE);
      if (done == 0) return;
      advance();
    }
  }

 private:
  void gather() {
    MPI_Iallgatherv(sent.data(), counts_[0], MPI_BYTE, received.data(), counts_.data(),
                    places_.data(), MPI_BYTE, comm_, requests_);
  }
  void exchange() {
    const ExchangeRound& r = rounds_[round_];
    const auto bytes = [&](std::size_t values) {
      return static_cast<int>(values * sum_.bytes_per_value);
    };
    requests_[0] = requests_[1] = MPI_REQUEST_NULL;
    if (r.receive_count > 0)
      MPI_Irecv(received.data(), bytes(r.receive_count), MPI_BYTE, r.peer, tag_, comm_, requests_);
    if (r.send_count > 0)
      MPI_Isend(sent.data(), bytes(r.send_count), MPI_BYTE, r.peer, tag_, comm_, requests_ + 1);
  }
  void advance() {
    if (!rounds_.empty()) {
      if (++round_ < rounds_.size())
        exchange();
      else
        phase_ = 0;
    } else if (sliced_ && phase_ == 1) {
      phase_ = 2;
      gather();
    } else {
      phase_ = 0;
    }
  }

  MPI_Comm comm_;
  Sum sum_;
  int tag_, rank_ = 0, size_ = 1;
  bool sliced_ = false;
  std::vector<ExchangeRound> rounds_;
  std::size_t round_ = 0;
  std::vector<int> counts_, places_;
  MPI_Request requests_[2] = {MPI_REQUEST_NULL, MPI_REQUEST_NULL};
  int phase_ = 0;  // 0: idle
};

}  // namespace

/// step STEP_FILE GROUP: GROUP consecutive ranks share statistics.
int main(int argc, char** argv) {
  MPI_Init(&argc, &argv);
  const Step step = read_step(argv[1]);
  const int group = std::stoi(argv[2]);
  int rank = 0;
  MPI_Comm_rank(MPI_COMM_WORLD, &rank);
  std::size_t most = 0;
  for (const Sum& sum : step.sums) most = std::max(most, sum.values * sum.bytes_per_value);
  if (sent.size() < most) sent.resize(most), received.resize(most);
  MPI_Comm sharing = MPI_COMM_NULL;
  MPI_Comm_split(MPI_COMM_WORLD, rank / group, rank, &sharing);
  std::vector<Reduction> reductions;
  for (std::size_t s = 0; s < step.sums.size(); ++s)
    reductions.emplace_back(step.sums[s].statistics ? sharing : MPI_COMM_WORLD, step.sums[s],
                            static_cast<int>(s));
  MPI_Barrier(MPI_COMM_WORLD);
  // All begin at one moment, later than the barrier lets any of them go.
  constexpr double kBegin = 10.0;
  simgrid::s4u::this_actor::sleep_until(kBegin);
  for (const Item& item : step.items) {
    const bool idle =
        item.kind == "wait" || (item.kind == "start" && group == 1 &&
                                step.sums[static_cast<std::size_t>(item.reduction)].statistics);
    if (!idle && item.seconds > 0.0) simgrid::s4u::this_actor::sleep_for(item.seconds);
    if (item.kind == "start") reductions[static_cast<std::size_t>(item.reduction)].start();
    if (item.kind == "wait") reductions[static_cast<std::size_t>(item.reduction)].wait();
    for (Reduction& reduction : reductions) reduction.test();
  }
  simgrid::s4u::this_actor::sleep_for(step.update);
  const double mine = simgrid::s4u::Engine::get_clock() - kBegin;
  double slowest = 0.0;
  MPI_Reduce(&mine, &slowest, 1, MPI_DOUBLE, MPI_MAX, 0, MPI_COMM_WORLD);
  if (rank == 0) std::printf("step_seconds %.9f\n", slowest);
  MPI_Finalize();
  return 0;
}
