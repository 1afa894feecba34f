// One sum over the leaves of a tree, distributed over the ranks of a communicator and repeated
// every step.
//
// Each rank folds its own leaves into the subtrees of local_plan(), and calls start() and later
// wait(); in between, test() drives progress. `tree` gives the same bits for every placement. Small
// messages are gathered everywhere and added locally. For large ones each rank adds one slice of
// the values, and the slices are gathered (2(N−1)/N of the bytes). Many ranks exchange in pairs
// instead, in log2(N) rounds or, with slices, 2·log2(N). `engine` is the communicator's own
// all-reduce.
#pragma once

#include <memory>
#include <string>
#include <vector>

#include "comm/communicator.h"
#include "comm/reduction_plan.h"

namespace syncnorm {

template <class T>
class Reduction {
 public:
  /// `blocks[r]` are the leaves of rank r of `comm`, ascending, adjacent and possibly empty;
  /// together they are all leaves. `count` is the number of values per leaf. Errors contain `name`.
  /// `comm` must outlive the reduction. Messages of more than `large_bytes` per subtree are sliced.
  /// With at least `exchange_ranks` ranks, they exchange in pairs if the plan and the communicator
  /// support it.
  Reduction(Communicator& comm, const std::vector<Interval>& blocks, std::size_t count,
            ReductionAlgorithm algorithm, std::string name, Combine combine = Combine::sum,
            std::size_t large_bytes = ReductionPlan::kLargeBytes,
            int exchange_ranks = ReductionPlan::kExchangeRanks);

  /// Returns the plan by which this rank's leaves are folded before start().
  const FoldPlan& local_plan() const { return plan_.local; }
  std::size_t count() const { return count_; }
  Combine combine() const { return combine_with_; }

  /// Starts the reduction. `subtrees[i]` points to `count` values of local_plan().subtrees[i].
  /// `result` receives the sum on every rank and may be subtrees[0]. Both must stay valid until
  /// wait() returns.
  void start(std::span<const T* const> subtrees, T* result);
  /// Starts from this rank's leaves, which are folded in place and thus overwritten.
  void start_leaves(std::span<T* const> leaves, T* result);
  /// Drives progress and returns true if the reduction is complete.
  bool test();
  /// Waits for completion. Ranks must wait for sliced and exchanged reductions in the same order,
  /// since the next phase starts inside test() or wait(). The compiled schedule guarantees this.
  void wait();

  /// Returns true if anything is sent; values_sent() is the number of values that this rank sends
  /// per run.
  bool communicates() const { return comm_.size() > 1; }
  std::size_t values_sent() const;

 private:
  enum class Phase { idle, gathering, scattering, collecting, engine, exchanging };

  Communicator& channel() { return own_channel_ != nullptr ? *own_channel_ : comm_; }
  void advance();
  void fold(const T* gathered, std::size_t width, T* result);
  void start_round();
  void finish_round();

  Communicator& comm_;
  // A sliced reduction starts its second collective when the first is done, which happens at
  // different times on different ranks. On its own communicator it cannot interleave with other
  // collectives.
  std::unique_ptr<Communicator> own_channel_;
  std::size_t count_;
  ReductionAlgorithm algorithm_;
  std::string name_;
  Combine combine_with_;
  ReductionPlan plan_;
  std::vector<ExchangeRound> rounds_;  // empty: uses collectives
  std::size_t round_ = 0;
  int channel_ = 0;
  std::vector<T> send_, receive_, slice_;
  std::vector<T*> stack_;
  std::vector<T*> folded_;  // for start_leaves()
  std::unique_ptr<Request> request_;
  Phase phase_ = Phase::idle;
  T* result_ = nullptr;
};

extern template class Reduction<float>;
extern template class Reduction<double>;

}  // namespace syncnorm
