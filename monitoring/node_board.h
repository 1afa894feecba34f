// The board of a node: shared memory of the ranks on one machine, in which each rank writes its own
// numbers and the first rank reads all of them. Nothing is sent during training.
#pragma once

#include <cstddef>
#include <string>
#include <vector>

#include "comm/communicator.h"
#include "monitoring/seqlock.h"

namespace syncnorm {

class NodeBoard {
 public:
  /// `sizes`: the count of numbers in each block of a rank, equal on every rank. Collective over
  /// `comm`. Where memory cannot be shared, a rank sees only its own blocks, and problem() says
  /// why.
  NodeBoard(Communicator& comm, std::vector<std::size_t> sizes);
  ~NodeBoard();
  NodeBoard(const NodeBoard&) = delete;
  NodeBoard& operator=(const NodeBoard&) = delete;

  /// The ranks of this node, ascending, as ranks of `comm`.
  const std::vector<int>& ranks() const { return ranks_; }
  /// The index of this rank in ranks(); rank 0 of these serves the metrics.
  int local_rank() const { return local_; }
  bool is_first() const { return local_ == 0; }
  const std::string& problem() const { return problem_; }

  /// Block `index` of rank ranks()[local]. Only that rank may write it.
  SharedBlock block(int local, std::size_t index) const;
  SharedBlock own(std::size_t index) const { return block(local_, index); }

 private:
  void map(const std::string& name, bool create);
  void use_private_memory();

  std::vector<std::size_t> sizes_;
  std::size_t bytes_per_rank_ = 0;
  std::vector<int> ranks_;
  int local_ = 0;
  std::byte* memory_ = nullptr;
  std::size_t mapped_ = 0;
  std::string problem_;
};

}  // namespace syncnorm
