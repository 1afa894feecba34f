// The state machine of one reduction; see reduction.h for its contract.
#include "comm/reduction.h"

#include <algorithm>
#include <cassert>
#include <cstring>

namespace syncnorm {

template <class T>
Reduction<T>::Reduction(Communicator& comm, std::vector<Interval> blocks, std::size_t count,
                        ReductionAlgorithm algorithm, std::string name, Combine combine,
                        std::size_t large_bytes)
    : comm_(comm),
      blocks_(std::move(blocks)),
      count_(count),
      algorithm_(algorithm),
      name_(std::move(name)),
      combine_with_(combine) {
  const int ranks = comm_.size();
  assert(static_cast<int>(blocks_.size()) == ranks);
  const int leaves = blocks_.back().end;
  const Interval own = blocks_[static_cast<std::size_t>(comm_.rank())];
  request_ = comm_.make_request();
  if (algorithm_ == ReductionAlgorithm::engine) {
    plan_ = running_fold_leaves(own);
    if (own.empty()) send_.assign(count_, T{0});
    return;
  }
  plan_ = tree_fold_leaves(own, leaves);
  if (ranks == 1) return;

  std::vector<Interval> all_nodes;
  std::vector<int> nodes_of_rank;
  for (const Interval& block : blocks_) {
    const FoldPlan plan = tree_fold_leaves(block, leaves);
    all_nodes.insert(all_nodes.end(), plan.nodes.begin(), plan.nodes.end());
    nodes_of_rank.push_back(static_cast<int>(plan.nodes.size()));
  }
  combine_ = tree_fold(all_nodes, leaves);
  assert(combine_.nodes.size() == 1);
  stack_.resize(all_nodes.size());
  const int own_nodes = nodes_of_rank[static_cast<std::size_t>(comm_.rank())];
  sliced_ = count_ * sizeof(T) > large_bytes && count_ >= static_cast<std::size_t>(ranks);
  if (!sliced_) {
    for (const int nodes : nodes_of_rank)
      gather_counts_.push_back(nodes * static_cast<int>(count_));
    if (own_nodes != 1) send_.resize(static_cast<std::size_t>(own_nodes) * count_);
    receive_.resize(all_nodes.size() * count_);
    return;
  }
  own_channel_ = comm_.subgroup({0, ranks});
  for (int r = 0; r < ranks; ++r) {
    const auto edge = [&](std::size_t i) { return count_ * i / static_cast<std::size_t>(ranks); };
    const auto index = static_cast<std::size_t>(r);
    slice_counts_.push_back(static_cast<int>(edge(index + 1) - edge(index)));
  }
  const int own_slice = slice_counts_[static_cast<std::size_t>(comm_.rank())];
  for (std::size_t r = 0; r < static_cast<std::size_t>(ranks); ++r) {
    send_counts_.push_back(own_nodes * slice_counts_[r]);
    receive_counts_.push_back(nodes_of_rank[r] * own_slice);
  }
  if (own_nodes != 1) send_.resize(static_cast<std::size_t>(own_nodes) * count_);
  receive_.resize(all_nodes.size() * static_cast<std::size_t>(own_slice));
  slice_.resize(static_cast<std::size_t>(own_slice));
}

template <class T>
std::size_t Reduction<T>::values_sent() const {
  if (!communicates()) return 0;
  if (algorithm_ == ReductionAlgorithm::engine) return count_;
  return plan_.nodes.size() * count_ + (sliced_ ? slice_.size() : 0);
}

template <class T>
void Reduction<T>::start(std::span<const T* const> nodes, T* result) {
  assert(phase_ == Phase::idle && nodes.size() == plan_.nodes.size());
  result_ = result;
  if (algorithm_ == ReductionAlgorithm::engine || comm_.size() == 1) {
    const T* own = nodes.empty() ? send_.data() : nodes[0];
    if (comm_.size() > 1) {
      comm_.start_all_reduce<T>(*request_, {own, count_}, {result, count_}, combine_with_);
      phase_ = Phase::engine;
    } else if (own != result) {
      std::memcpy(result, own, count_ * sizeof(T));
    }
    return;
  }
  std::span<const T> send;
  if (nodes.size() == 1) {
    send = {nodes[0], count_};
  } else {
    // Slices of one destination lie together: for each rank, its slice of every node.
    T* to = send_.data();
    std::size_t at = 0;
    const int whole = static_cast<int>(count_);
    const auto widths = sliced_ ? std::span<const int>(slice_counts_) : std::span(&whole, 1);
    for (const int width : widths) {
      for (const T* node : nodes) {
        std::memcpy(to, node + at, static_cast<std::size_t>(width) * sizeof(T));
        to += width;
      }
      at += static_cast<std::size_t>(width);
    }
    send = send_;
  }
  if (sliced_) {
    channel().template start_all_to_all<T>(*request_, send, send_counts_, receive_,
                                           receive_counts_);
    phase_ = Phase::scattering;
  } else {
    comm_.start_all_gather<T>(*request_, send, receive_, gather_counts_);
    phase_ = Phase::gathering;
  }
}

template <class T>
void Reduction<T>::fold(const T* gathered, std::size_t width, T* result) {
  // The nodes are consumed in place: the stack holds pointers into the receive buffer.
  T* base = const_cast<T*>(gathered);
  std::size_t height = 0;
  for (std::size_t i = 0; i < combine_.merges.size(); ++i) {
    stack_[height++] = base + i * width;
    for (int m = 0; m < combine_.merges[i]; ++m, --height)
      combine_into(combine_with_, stack_[height - 2], stack_[height - 1], width);
  }
  assert(height == 1);
  std::memcpy(result, stack_[0], width * sizeof(T));
}

template <class T>
void Reduction<T>::advance() {
  switch (phase_) {
    case Phase::gathering:
      fold(receive_.data(), count_, result_);
      phase_ = Phase::idle;
      break;
    case Phase::scattering:
      fold(receive_.data(), slice_.size(), slice_.data());
      channel().template start_all_gather<T>(*request_, slice_, {result_, count_}, slice_counts_);
      phase_ = Phase::collecting;
      break;
    case Phase::collecting:
    case Phase::engine:
      phase_ = Phase::idle;
      break;
    case Phase::idle:
      break;
  }
}

template <class T>
bool Reduction<T>::test() {
  while (phase_ != Phase::idle) {
    if (!channel().test(*request_)) return false;
    advance();
  }
  return true;
}

template <class T>
void Reduction<T>::wait() {
  while (phase_ != Phase::idle) {
    channel().wait(*request_, name_.c_str());
    advance();
  }
}

template class Reduction<float>;
template class Reduction<double>;

}  // namespace syncnorm
