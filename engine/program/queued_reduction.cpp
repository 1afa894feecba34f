// See queued_reduction.h.
#include "engine/program/queued_reduction.h"

#include <cassert>

namespace syncnorm {
namespace {

/// Directs calls to `queue` during its lifetime.
class OnQueue {
 public:
  OnQueue(Device& device, Queue queue) : device_(device), before_(device.use_queue(queue)) {}
  ~OnQueue() { device_.use_queue(before_); }
  OnQueue(const OnQueue&) = delete;
  OnQueue& operator=(const OnQueue&) = delete;

 private:
  Device& device_;
  Queue before_;
};

template <class T>
class QueuedReduction final : public StepReduction {
 public:
  QueuedReduction(Device& device, Communicator& comm, const QueuedReductionOptions& o,
                  ReductionMarks* marks)
      : device_(device),
        comm_(comm),
        options_(o),
        marks_(marks),
        plan_(o.blocks, comm.rank(), o.count, sizeof(T), o.algorithm, ReductionPlan::kLargeBytes),
        sends_(comm.size() > 1 || o.forced),
        request_(comm.make_request()),
        ready_(device.make_event()),
        done_(device.make_event()) {
    const std::size_t own_subtrees = plan_.local.subtrees.size();
    std::vector<int> merges = plan_.local.merges;
    if (o.folded) merges.assign(own_subtrees, 0);
    if (merges.size() != 1) {
      local_fold_ = fold(merges, o.stride);
      send_ = allocate(own_subtrees == 0 ? o.count : own_subtrees * o.count);
    }
    if (!sends_ || o.algorithm == ReductionAlgorithm::engine) return;
    const auto subtrees = static_cast<std::size_t>(plan_.subtrees);
    const auto width = static_cast<std::size_t>(plan_.own_slice);
    if (!plan_.sliced) {
      received_ = allocate(subtrees * o.count);
      combine_fold_ = fold(plan_.combine.merges, o.count);
      return;
    }
    if (own_subtrees > 1) packed_ = allocate(own_subtrees * o.count);
    received_ = allocate(subtrees * width);
    slice_ = allocate(width);
    combine_fold_ = fold(plan_.combine.merges, width, width);
  }

  void start(const ReductionBuffers& buffers) override {
    const void* inputs = buffers.leaves;
    void* result = buffers.result;
    if (!sends_) return fold_here(inputs, result);
    device_.record(*ready_);
    const OnQueue queue(device_, Queue::communication);
    device_.run_after(*ready_);
    mark(&ReductionMarks::started);
    const T* subtrees = static_cast<const T*>(inputs);
    if (local_fold_ != nullptr) {
      run(*local_fold_, inputs, send_.data());
      subtrees = send_.as<T>().data();
    }
    auto* out = static_cast<T*>(result);
    const std::span<T> whole(out, options_.count);
    if (options_.algorithm == ReductionAlgorithm::engine)
      comm_.start_all_reduce<T>(*request_, {subtrees, options_.count}, whole, options_.combine);
    else if (plan_.sliced)
      exchange_slices(subtrees, whole);
    else
      gather(subtrees, out);
    mark(&ReductionMarks::finished);
    device_.record(*done_);
  }

  bool test() override { return true; }
  void wait() override {
    if (sends_) device_.run_after(*done_);
  }

  std::size_t bytes_sent() const override {
    if (!sends_) return 0;
    if (options_.algorithm == ReductionAlgorithm::engine) return options_.count * sizeof(T);
    return plan_.local.subtrees.size() * options_.count * sizeof(T) + slice_.bytes();
  }
  void check() override {
    if (sends_) comm_.poll();
  }
  void give_up() override {
    if (sends_) comm_.give_up();
  }

 private:
  Buffer allocate(std::size_t values) { return device_.allocate(values * sizeof(T)); }

  std::unique_ptr<Kernel> fold(const std::vector<int>& merges, std::size_t stride,
                               std::size_t count = 0) {
    TreeFold op;
    op.merges = merges;
    op.count = count > 0 ? count : options_.count;
    op.stride = stride;
    op.maximum = options_.combine == Combine::max;
    op.doubles = sizeof(T) == sizeof(double);
    return device_.compile(op);
  }
  static void run(Kernel& kernel, const void* from, void* to) {
    kernel.run(pointer_list<TreeFold>({.subtrees = from, .left = to}), {});
  }
  void mark(std::int32_t ReductionMarks::*which) {
    const std::int32_t number = options_.number;
    if (marks_ != nullptr) device_.write(&(marks_->*which), &number, sizeof number);
  }

  /// Folds without communication: a single rank has the whole tree.
  void fold_here(const void* inputs, void* result) {
    if (local_fold_ != nullptr)
      run(*local_fold_, inputs, result);
    else if (inputs != result)
      device_.copy(result, inputs, options_.count * sizeof(T));
  }

  void gather(const T* subtrees, T* result) {
    comm_.start_all_gather<T>(*request_, {subtrees, plan_.local.subtrees.size() * options_.count},
                              received_.as<T>(), plan_.gather_counts);
    run(*combine_fold_, received_.data(), result);
  }

  /// Queues both collectives at once, in the same order on every rank. They therefore need no
  /// communicators of their own, unlike those of comm/reduction.h.
  void exchange_slices(const T* subtrees, std::span<T> result) {
    const std::size_t own_subtrees = plan_.local.subtrees.size();
    if (own_subtrees > 1) subtrees = pack(subtrees);
    comm_.start_all_to_all<T>(*request_, {subtrees, own_subtrees * options_.count},
                              plan_.send_counts, received_.as<T>(), plan_.receive_counts);
    run(*combine_fold_, received_.data(), slice_.data());
    comm_.start_all_gather<T>(*request_, slice_.as<T>(), result, plan_.slice_counts);
  }

  /// Packs the slices by destination: for each rank, its slice of every subtree.
  const T* pack(const T* subtrees) {
    T* to = packed_.as<T>().data();
    std::size_t at = 0;
    for (const int width : plan_.slice_counts) {
      const auto values = static_cast<std::size_t>(width);
      for (std::size_t n = 0; n < plan_.local.subtrees.size(); ++n, to += values)
        device_.copy(to, subtrees + n * options_.count + at, values * sizeof(T));
      at += values;
    }
    return packed_.as<T>().data();
  }

  Device& device_;
  Communicator& comm_;
  const QueuedReductionOptions options_;
  ReductionMarks* marks_;
  const ReductionPlan plan_;
  const bool sends_;
  std::unique_ptr<Request> request_;
  std::unique_ptr<Event> ready_, done_;
  std::unique_ptr<Kernel> local_fold_, combine_fold_;
  Buffer send_, packed_, received_, slice_;
};

}  // namespace

template <class T>
std::unique_ptr<StepReduction> make_queued_reduction(Device& device, Communicator& comm,
                                                     const QueuedReductionOptions& options,
                                                     ReductionMarks* marks) {
  return std::make_unique<QueuedReduction<T>>(device, comm, options, marks);
}

template std::unique_ptr<StepReduction> make_queued_reduction<float>(Device&, Communicator&,
                                                                     const QueuedReductionOptions&,
                                                                     ReductionMarks*);
template std::unique_ptr<StepReduction> make_queued_reduction<double>(Device&, Communicator&,
                                                                      const QueuedReductionOptions&,
                                                                      ReductionMarks*);

}  // namespace syncnorm
