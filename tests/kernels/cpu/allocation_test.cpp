// No kernel of ours allocates after its first run; oneDNN's own allocations are its own affair.
#include <set>

#include "tests/kernels/counting_new.h"
#include "tests/kernels/cpu/kernel_test.h"

namespace syncnorm::test {
namespace {

struct OpArguments {
  Op op;
  std::size_t arguments;
};

/// Every kind of operation, with the number of its arguments.
std::vector<OpArguments> all_operations() {
  const ConvShape conv{6, 5, 17, 9, 3, 1, 1, true, 2}, plain{8, 8, 16, 16, 3, 2, 1, false, 2};
  const PoolShape max{PoolKind::max, 6, 6, 5, 3, 3, 2, 1};
  const PoolShape average{PoolKind::average, 6, 6, 5, 3, 3, 2, 1};
  return {{ConvPack{1, conv, false}, 2},
          {ConvPack{1, conv, true}, 2},
          {ConvForward{2, conv}, 4},
          {ConvDgrad{2, conv}, 3},
          {ConvWgrad{2, conv}, 4},
          {ConvForward{2, plain}, 4},
          {ConvDgrad{2, plain}, 3},
          {ConvWgrad{2, plain}, 4},
          {LinearForward{3, 33, 10}, 4},
          {LinearDgrad{3, 33, 10}, 3},
          {LinearWgrad{3, 33, 10}, 4},
          {WeightNormalize{1, 7, 33, false}, 5},
          {WeightNormalize{1, 7, 33, true}, 5},
          {WeightNormalizeBackward{1, 7, 33, false}, 7},
          {WeightNormalizeBackward{1, 7, 33, true}, 7},
          {PoolForward{2, max, true}, 3},
          {PoolForward{2, max, false}, 3},
          {PoolForward{2, average, true}, 3},
          {PoolBackward{2, average}, 3},
          {BatchMoments{3, 7, 33}, 2},
          {BatchFinalize{3, 33}, 6},
          {BatchDeviation{3, 7, 33}, 4},
          {BatchFinalizeDeviation{3, 33}, 4},
          {Accumulate{1, 33}, 2},
          {BatchFromRunning{3, 33}, 4},
          {BatchNormalize{3, 7, 33, true}, 8},
          {BatchGradientSums{3, 7, 33, true}, 13},
          {BatchInputGradient{3, 7, 33, true}, 12},
          {GroupNormForward{3, 7, 33, 11, 1e-5, true}, 7},
          {GroupNormBackward{3, 7, 33, 11, true}, 12},
          {ActivationForward{3, 37, Activation::relu}, 2},
          {ActivationForward{3, 37, Activation::gelu}, 2},
          {ActivationBackward{3, 37, Activation::relu}, 4},
          {ActivationBackward{3, 37, Activation::gelu}, 4},
          {Add{3, 37}, 3},
          {Dropout{3, 37, 0.5, 1}, 3},
          {Dropout{3, 37, 0.5, 1, true}, 3},
          {NormNoise{3, 7, 5}, 3},
          {ToChannelsFirst{3, 7, 5, false}, 2},
          {Convert{3, 37, Storage::f32}, 2},
          {Convert{3, 37, Storage::bf16}, 2},
          {SoftmaxCrossEntropy{3, 10, 0.1, 1.0}, 4},
          {SgdUpdate{1, 100}, 3},
          {AdamUpdate{1, 100}, 4},
          {SumOfSquares{1, 100}, 2},
          {GradientFactor{1, 1.0}, 3},
          {TreeFold{1, {0, 1}, 100, 100}, 2},
          {MakeImages{2, 4, 4, 3}, 4}};
}

/// What the emulated CUDA device cannot compile, for want of cuDNN and cuBLASLt.
bool needs_libraries(const Op& op) {
  return std::holds_alternative<ConvForward>(op) || std::holds_alternative<ConvDgrad>(op) ||
         std::holds_alternative<ConvWgrad>(op) || std::holds_alternative<LinearForward>(op) ||
         std::holds_alternative<LinearDgrad>(op) || std::holds_alternative<LinearWgrad>(op);
}

class AllocationTest : public KernelTest {};

TEST(AllocationCount, SeesAnAllocation) {
  EXPECT_EQ(allocations_in(allocate_visibly), 1);
  EXPECT_EQ(allocations_in([] {}), 0);
}

TEST_P(AllocationTest, NoKernelAllocatesAfterItsFirstRun) {
  std::set<std::size_t> kinds;
  for (const auto& [op, count] : all_operations()) {
    kinds.insert(op.index());
    if (emulated() && needs_libraries(op)) continue;
    std::vector<Buffer> buffers;
    std::vector<void*> pointers;
    for (std::size_t i = 0; i < count; ++i) {
      buffers.push_back(device_->allocate(1 << 17));
      pointers.push_back(buffers.back().data());
    }
    // Small positive numbers, whether they are read as sums or as values; labels stay class 0.
    if (!std::holds_alternative<SoftmaxCrossEntropy>(op))
      for (const Buffer& buffer : buffers)
        for (double& value : buffer.as<double>()) value = 2.0;
    const auto kernel = device_->compile(op);
    kernel->run(pointers, {});
    const int made = allocations_in([&] {
      for (int i = 0; i < 3; ++i) kernel->run(pointers, {});
    });
    EXPECT_EQ(made, 0) << op_text(op);
  }
  // Max pooling's backward pass needs the positions that its forward pass kept.
  const PoolShape max{PoolKind::max, 6, 6, 5, 3, 3, 2, 1};
  const PoolForward forward{2, max, true};
  const Floats x = floats(random_normal(360, 1)), y = floats(90u), dx = floats(360u);
  const Array<unsigned char> kept(*device_, device_->workspace_bytes(forward));
  run(forward, {x, y, kept});
  const auto backward = device_->compile(PoolBackward{2, max});
  const std::vector<void*> pointers = {y.pointer(), kept.pointer(), dx.pointer()};
  backward->run(pointers, {});
  EXPECT_EQ(allocations_in([&] { backward->run(pointers, {}); }), 0);

  EXPECT_EQ(kinds.size(), std::variant_size_v<Op>) << "a kind of operation is not covered";
}

SYNCNORM_FOR_ALL_BACK_ENDS(AllocationTest);

}  // namespace
}  // namespace syncnorm::test
