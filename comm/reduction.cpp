// The state machine of one reduction; see reduction.h for its contract.
#include "comm/reduction.h"

#include <algorithm>
#include <cassert>
#include <cstring>

namespace syncnorm {

template <class T>
Reduction<T>::Reduction(Communicator& comm, const std::vector<Interval>& blocks, std::size_t count,
                        ReductionAlgorithm algorithm, std::string name, Combine combine,
                        std::size_t large_bytes, int exchange_ranks)
    : comm_(comm),
      count_(count),
      algorithm_(algorithm),
      name_(std::move(name)),
      combine_with_(combine),
      plan_(blocks, comm.rank(), count, sizeof(T), algorithm, large_bytes) {
  assert(static_cast<int>(blocks.size()) == comm_.size());
  request_ = comm_.make_request();
  folded_.resize(plan_.local.merges.size());
  const std::size_t own_subtrees = plan_.local.subtrees.size();
  if (algorithm_ == ReductionAlgorithm::engine) {
    if (own_subtrees == 0) send_.assign(count_, T{0});
    return;
  }
  if (comm_.size() == 1) return;
  const auto subtrees = static_cast<std::size_t>(plan_.subtrees);
  if (plan_.in_pairs && comm_.size() >= exchange_ranks && comm_.exchanges()) {
    rounds_ = exchange_rounds(comm_.rank(), comm_.size(), count_, plan_.sliced);
    channel_ = comm_.new_channel();
    for (const ExchangeRound& round : rounds_)
      if (round.fold) receive_.resize(std::max(receive_.size(), round.receive_count));
    return;
  }
  stack_.resize(subtrees);
  if (own_subtrees != 1) send_.resize(own_subtrees * count_);
  if (!plan_.sliced) {
    receive_.resize(subtrees * count_);
    return;
  }
  own_channel_ = comm_.subgroup({0, comm_.size()});
  receive_.resize(subtrees * static_cast<std::size_t>(plan_.own_slice));
  slice_.resize(static_cast<std::size_t>(plan_.own_slice));
}

template <class T>
std::size_t Reduction<T>::values_sent() const {
  if (!communicates()) return 0;
  if (algorithm_ == ReductionAlgorithm::engine) return count_;
  std::size_t exchanged = 0;
  for (const ExchangeRound& round : rounds_) exchanged += round.send_count;
  if (!rounds_.empty()) return exchanged;
  return plan_.local.subtrees.size() * count_ + (plan_.sliced ? slice_.size() : 0);
}

template <class T>
void Reduction<T>::start(std::span<const T* const> subtrees, T* result) {
  assert(phase_ == Phase::idle && subtrees.size() == plan_.local.subtrees.size());
  result_ = result;
  if (algorithm_ == ReductionAlgorithm::engine || comm_.size() == 1) {
    const T* own = subtrees.empty() ? send_.data() : subtrees[0];
    if (comm_.size() > 1) {
      comm_.start_all_reduce<T>(*request_, {own, count_}, {result, count_}, combine_with_);
      phase_ = Phase::engine;
    } else if (own != result) {
      std::memcpy(result, own, count_ * sizeof(T));
    }
    return;
  }
  if (!rounds_.empty()) {
    if (subtrees[0] != result) std::memcpy(result, subtrees[0], count_ * sizeof(T));
    round_ = 0;
    phase_ = Phase::exchanging;
    return start_round();
  }
  std::span<const T> send;
  if (subtrees.size() == 1) {
    send = {subtrees[0], count_};
  } else {
    // Packs the slices by destination: for each rank, its slice of every subtree.
    T* to = send_.data();
    std::size_t at = 0;
    const int whole = static_cast<int>(count_);
    const auto widths =
        plan_.sliced ? std::span<const int>(plan_.slice_counts) : std::span(&whole, 1);
    for (const int width : widths) {
      for (const T* subtree : subtrees) {
        std::memcpy(to, subtree + at, static_cast<std::size_t>(width) * sizeof(T));
        to += width;
      }
      at += static_cast<std::size_t>(width);
    }
    send = send_;
  }
  if (plan_.sliced) {
    channel().template start_all_to_all<T>(*request_, send, plan_.send_counts, receive_,
                                           plan_.receive_counts);
    phase_ = Phase::scattering;
  } else {
    comm_.start_all_gather<T>(*request_, send, receive_, plan_.gather_counts);
    phase_ = Phase::gathering;
  }
}

template <class T>
void Reduction<T>::start_leaves(std::span<T* const> leaves, T* result) {
  assert(leaves.size() == plan_.local.merges.size());
  std::size_t height = 0;
  for (std::size_t i = 0; i < leaves.size(); ++i) {
    folded_[height++] = leaves[i];
    for (int m = 0; m < plan_.local.merges[i]; ++m, --height)
      combine_into(combine_with_, folded_[height - 2], folded_[height - 1], count_);
  }
  start({const_cast<const T* const*>(folded_.data()), height}, result);
}

template <class T>
void Reduction<T>::fold(const T* gathered, std::size_t width, T* result) {
  // Folds in place: the stack holds pointers into the receive buffer.
  T* base = const_cast<T*>(gathered);
  std::size_t height = 0;
  for (std::size_t i = 0; i < plan_.combine.merges.size(); ++i) {
    stack_[height++] = base + i * width;
    for (int m = 0; m < plan_.combine.merges[i]; ++m, --height)
      combine_into(combine_with_, stack_[height - 2], stack_[height - 1], width);
  }
  assert(height == 1);
  std::memcpy(result, stack_[0], width * sizeof(T));
}

template <class T>
void Reduction<T>::start_round() {
  const ExchangeRound& r = rounds_[round_];
  T* to = r.fold ? receive_.data() : result_ + r.receive_begin;
  comm_.start_exchange<T>(*request_, channel_, r.peer, {result_ + r.send_begin, r.send_count},
                          {to, r.receive_count});
}

template <class T>
void Reduction<T>::finish_round() {
  const ExchangeRound& r = rounds_[round_];
  if (r.fold)
    combine_into(combine_with_, result_ + r.receive_begin, receive_.data(), r.receive_count);
  if (++round_ < rounds_.size())
    start_round();
  else
    phase_ = Phase::idle;
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
      channel().template start_all_gather<T>(*request_, slice_, {result_, count_},
                                             plan_.slice_counts);
      phase_ = Phase::collecting;
      break;
    case Phase::collecting:
    case Phase::engine:
      phase_ = Phase::idle;
      break;
    case Phase::exchanging:
      finish_round();
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
