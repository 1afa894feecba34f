// Runs the grid of an emulated launch: every thread of a block is a fiber with a stack of its own,
// and the scheduler below lets each run until its next barrier.
//
// Fibers are made once and reused. Changing from one to another is a few instructions of x86-64
// (swapcontext would ask the kernel for the signal mask each time); the address sanitizer is told.
#include <sys/mman.h>

#include <cstdio>
#include <cstdlib>
#include <memory>
#include <vector>

#include "tests/kernels/cuda/emulation/cuda_runtime.h"

#if defined(__SANITIZE_ADDRESS__)
#include <sanitizer/common_interface_defs.h>
#endif

// Saves the callee-saved registers and the stack pointer, and goes on where `to` was left.
extern "C" void syncnorm_change_stack(void** from, void* to);
asm(R"(
.text
.globl syncnorm_change_stack
.type syncnorm_change_stack, @function
syncnorm_change_stack:
  pushq %rbp
  pushq %rbx
  pushq %r12
  pushq %r13
  pushq %r14
  pushq %r15
  movq %rsp, (%rdi)
  movq %rsi, %rsp
  popq %r15
  popq %r14
  popq %r13
  popq %r12
  popq %rbx
  popq %rbp
  ret
.size syncnorm_change_stack, .-syncnorm_change_stack
)");

namespace syncnorm::emulation {

Place place;

namespace {

constexpr unsigned kWarp = 32, kMostThreads = 1024;
constexpr std::size_t kStackBytes = 256 * 1024;  // pages are taken when they are touched

[[noreturn]] void fail(const char* what) {
  std::fprintf(stderr, "emulated CUDA: %s (block %u,%u,%u thread %u,%u)\n", what, place.block.x,
               place.block.y, place.block.z, place.thread.x, place.thread.y);
  std::abort();
}

enum class State { ready, at_warp_barrier, at_block_barrier, finished };

struct Fiber {
  void* stack = nullptr;
  void* pointer = nullptr;  // saved stack pointer
  void* sanitizer = nullptr;
  State state = State::finished;
  dim3 thread;
};

struct Grid {
  std::vector<Fiber> fibers;
  std::uint64_t values[kMostThreads];
  void* scheduler = nullptr;
  void* scheduler_sanitizer = nullptr;
  const void* scheduler_stack = nullptr;
  std::size_t scheduler_bytes = 0;
  Fiber* running = nullptr;
  Body body = nullptr;
  const void* closure = nullptr;
  unsigned threads = 0;
  Order order = Order::forward;
  std::uint64_t launches = 0;
};
Grid grid;

void to_scheduler() {
  Fiber& fiber = *grid.running;
#if defined(__SANITIZE_ADDRESS__)
  __sanitizer_start_switch_fiber(&fiber.sanitizer, grid.scheduler_stack, grid.scheduler_bytes);
#endif
  syncnorm_change_stack(&fiber.pointer, grid.scheduler);
#if defined(__SANITIZE_ADDRESS__)
  __sanitizer_finish_switch_fiber(fiber.sanitizer, &grid.scheduler_stack, &grid.scheduler_bytes);
#endif
}

/// What every fiber runs: one thread of a block after another, for ever.
void fiber_main() {
#if defined(__SANITIZE_ADDRESS__)
  __sanitizer_finish_switch_fiber(nullptr, &grid.scheduler_stack, &grid.scheduler_bytes);
#endif
  for (;;) {
    grid.body(grid.closure);
    grid.running->state = State::finished;
    to_scheduler();
  }
}

void make_fiber(Fiber& fiber) {
  fiber.stack = mmap(nullptr, kStackBytes, PROT_READ | PROT_WRITE,
                     MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE, -1, 0);
  if (fiber.stack == MAP_FAILED) fail("no memory for the stack of a thread");
  // As if fiber_main had been interrupted before its first instruction: six registers, its address,
  // and a return address that is never used and aligns the stack.
  auto** top = reinterpret_cast<void**>(static_cast<char*>(fiber.stack) + kStackBytes) - 8;
  for (int i = 0; i < 8; ++i) top[i] = nullptr;
  top[6] = reinterpret_cast<void*>(&fiber_main);
  fiber.pointer = top;
}

void resume(Fiber& fiber) {
  grid.running = &fiber;
  place.thread = fiber.thread;
#if defined(__SANITIZE_ADDRESS__)
  __sanitizer_start_switch_fiber(&grid.scheduler_sanitizer, fiber.stack, kStackBytes);
#endif
  syncnorm_change_stack(&grid.scheduler, fiber.pointer);
#if defined(__SANITIZE_ADDRESS__)
  __sanitizer_finish_switch_fiber(grid.scheduler_sanitizer, nullptr, nullptr);
#endif
}

/// Calls visit(i) for i < count, in the order of the day.
template <class Visit>
void in_order(unsigned count, const Visit& visit) {
  for (unsigned i = 0; i < count; ++i) visit(grid.order == Order::forward ? i : count - 1 - i);
}

unsigned count(unsigned first, unsigned last, State state) {
  unsigned n = 0;
  for (unsigned i = first; i < last; ++i) n += grid.fibers[i].state == state;
  return n;
}

void release(unsigned first, unsigned last, State state) {
  for (unsigned i = first; i < last; ++i)
    if (grid.fibers[i].state == state) grid.fibers[i].state = State::ready;
}

/// Runs a warp until all its threads have ended or wait for the block.
void run_warp(unsigned first, unsigned last) {
  for (;;) {
    in_order(last - first, [&](unsigned i) {
      if (grid.fibers[first + i].state == State::ready) resume(grid.fibers[first + i]);
    });
    const unsigned waiting = count(first, last, State::at_warp_barrier);
    if (waiting == 0) return;
    if (waiting != last - first) fail("a warp's barrier or shuffle misses some of its threads");
    release(first, last, State::at_warp_barrier);
  }
}

void run_block() {
  const dim3 size = place.block_size;
  for (unsigned i = 0; i < grid.threads; ++i) {
    Fiber& fiber = grid.fibers[i];
    fiber.thread = {i % size.x, i / size.x % size.y, i / (size.x * size.y)};
    fiber.state = State::ready;
  }
  const unsigned warps = (grid.threads + kWarp - 1) / kWarp;
  for (;;) {
    in_order(warps, [&](unsigned w) {
      run_warp(w * kWarp, w * kWarp + kWarp < grid.threads ? w * kWarp + kWarp : grid.threads);
    });
    const unsigned waiting = count(0, grid.threads, State::at_block_barrier);
    if (waiting == 0) return;
    if (waiting != grid.threads) fail("a block's barrier misses some of its threads");
    release(0, grid.threads, State::at_block_barrier);
  }
}

unsigned index_in_block() { return static_cast<unsigned>(grid.running - grid.fibers.data()); }

}  // namespace

void run_grid(dim3 blocks, dim3 threads, Body body, const void* closure) {
  grid.threads = threads.x * threads.y * threads.z;
  if (grid.threads == 0 || grid.threads > kMostThreads) fail("a block of no or too many threads");
  if (blocks.x == 0 || blocks.y == 0 || blocks.z == 0) fail("a grid without blocks");
  if (blocks.y > 65535 || blocks.z > 65535) fail("a grid of more than 65535 blocks in y or z");
  if (grid.fibers.empty()) {
    grid.fibers.resize(kMostThreads);
    for (Fiber& fiber : grid.fibers) make_fiber(fiber);
  }
  grid.body = body;
  grid.closure = closure;
  ++grid.launches;
  place.block_size = threads;
  place.grid_size = blocks;
  in_order(blocks.z, [&](unsigned z) {
    in_order(blocks.y, [&](unsigned y) {
      in_order(blocks.x, [&](unsigned x) {
        place.block = {x, y, z};
        run_block();
      });
    });
  });
}

void block_barrier() {
  grid.running->state = State::at_block_barrier;
  to_scheduler();
}

void warp_barrier() {
  grid.running->state = State::at_warp_barrier;
  to_scheduler();
}

unsigned lane() { return index_in_block() % kWarp; }

std::uint64_t exchange(std::uint64_t bits, unsigned from) {
  const unsigned self = index_in_block(), other = self - self % kWarp + from;
  if (from >= kWarp || other >= grid.threads) fail("a shuffle with a thread that is not there");
  grid.values[self] = bits;
  warp_barrier();
  const std::uint64_t result = grid.values[other];
  warp_barrier();  // nobody overwrites a value that is still to be read
  return result;
}

void set_order(Order order) { grid.order = order; }

std::uint64_t launches() { return grid.launches; }

}  // namespace syncnorm::emulation
