// One sum over the leaves of a tree, spread over the ranks of a communicator, run every step.
//
// Each rank sums its own leaves into the subtrees of local_plan(), calls start() and later wait();
// in between, test() makes progress. `tree` gives the tree's bits whatever the placement: small
// messages are gathered everywhere and added locally; for large ones each rank adds one slice of
// the values and the slices are gathered (2(N−1)/N of the bytes). Many ranks exchange in pairs
// instead, in log2(N) or, with slices, 2·log2(N) rounds. `engine` is the communicator's own
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
  /// `blocks[r]`: the leaves of rank r of `comm`, ascending and adjacent, possibly empty; together
  /// all leaves. `count` values per leaf. `name` appears in errors. `comm` must outlive the
  /// reduction. Messages of more than `large_bytes` per subtree are sliced. From `exchange_ranks`
  /// on ranks exchange in pairs, where the plan and the communicator can.
  Reduction(Communicator& comm, const std::vector<Interval>& blocks, std::size_t count,
            ReductionAlgorithm algorithm, std::string name, Combine combine = Combine::sum,
            std::size_t large_bytes = ReductionPlan::kLargeBytes,
            int exchange_ranks = ReductionPlan::kExchangeRanks);

  /// How this rank's leaves are folded before start().
  const FoldPlan& local_plan() const { return plan_.local; }
  std::size_t count() const { return count_; }
  Combine combine() const { return combine_with_; }

  /// `subtrees[i]` points at `count` values of local_plan().subtrees[i]; `result` receives the sum
  /// on every rank and may be subtrees[0]. Both must stay until wait() returns.
  void start(std::span<const T* const> subtrees, T* result);
  /// The same from this rank's leaves, which are folded in place, and so overwritten.
  void start_leaves(std::span<T* const> leaves, T* result);
  /// True when it is complete; makes progress.
  bool test();
  /// Ranks must wait for sliced and exchanged reductions in the same order: the next phase of one
  /// starts inside its own test() or wait(). The compiled schedule sees to that.
  void wait();

  /// Whether anything is sent at all, and how many values this rank sends per run.
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
  // A sliced reduction starts its second collective when the first is done, which is at different
  // times on different ranks; on a communicator of its own that cannot cross other collectives.
  std::unique_ptr<Communicator> own_channel_;
  std::size_t count_;
  ReductionAlgorithm algorithm_;
  std::string name_;
  Combine combine_with_;
  ReductionPlan plan_;
  std::vector<ExchangeRound> rounds_;  // empty: by collectives
  std::size_t round_ = 0;
  int channel_ = 0;
  std::vector<T> send_, receive_, slice_;
  std::vector<T*> stack_;
  std::vector<T*> folded_;  // of start_leaves()
  std::unique_ptr<Request> request_;
  Phase phase_ = Phase::idle;
  T* result_ = nullptr;
};

extern template class Reduction<float>;
extern template class Reduction<double>;

}  // namespace syncnorm
