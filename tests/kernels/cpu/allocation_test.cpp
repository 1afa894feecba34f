// No kernel of ours allocates after its first run; what oneDNN and CUDA allocate on the host is
// their own affair. Allocations on the device are counted in the emulation. On a GPU its free
// memory is compared, so what cuDNN allocates there for good is seen, too.
#include <set>

#include "tests/kernels/counting_new.h"
#include "tests/kernels/cpu/kernel_test.h"
#include "tests/kernels/cuda/emulation/cuda_runtime.h"

namespace syncnorm::test {
namespace {

/// Every kind of operation.
std::vector<Op> all_operations() {
  const ConvShape conv{6, 5, 17, 9, 3, 1, 1, true, 2}, plain{8, 8, 16, 16, 3, 2, 1, false, 2};
  const PoolShape max{PoolKind::max, 6, 6, 5, 3, 3, 2, 1};
  const PoolShape average{PoolKind::average, 6, 6, 5, 3, 3, 2, 1};
  return {ConvPack{1, conv, false},
          ConvPack{1, conv, true},
          ConvForward{2, conv},
          ConvDgrad{2, conv},
          ConvWgrad{2, conv},
          ConvForward{2, plain},
          ConvDgrad{2, plain},
          ConvWgrad{2, plain},
          AddBias{3, 7, 33},
          BiasGradient{3, 7, 33},
          UpsampleForward{2, {UpsampleMode::nearest, false, 3, 4, 5, 6, 9}},
          UpsampleForward{2, {UpsampleMode::bilinear, false, 3, 4, 5, 6, 9}},
          UpsampleBackward{2, {UpsampleMode::bilinear, false, 3, 4, 5, 6, 9}},
          Concat{3, 7, {5, 12, 1, 2, 3, 4, 8, 1}},
          SliceChannels{3, 7, 33, 5, 12},
          Multiply{3, 7, 33, Factor::per_channel},
          Multiply{3, 7, 33, Factor::per_pixel},
          MultiplyBackward{3, 7, 33, Factor::per_channel},
          MultiplyBackward{3, 7, 33, Factor::per_pixel},
          LinearForward{3, 33, 10},
          LinearDgrad{3, 33, 10},
          LinearWgrad{3, 33, 10},
          WeightNormalize{1, 7, 33, WeightForm::normalized},
          WeightNormalize{1, 7, 33, WeightForm::standardized},
          WeightNormalizeBackward{1, 7, 33, WeightForm::normalized},
          WeightNormalizeBackward{1, 7, 33, WeightForm::standardized},
          PoolForward{2, max, true},
          PoolForward{2, max, false},
          PoolForward{2, average, true},
          PoolBackward{2, average},
          BatchMoments{3, 7, 33},
          BatchFinalize{3, 33},
          BatchDeviation{3, 7, 33},
          BatchFinalizeDeviation{3, 33},
          Accumulate{1, 33},
          BatchFromRunning{3, 33},
          BatchMix{1, 33},
          BatchNormalize{3, 7, 33, true},
          BatchGradientSums{3, 7, 33, true},
          BatchInputGradient{3, 7, 33, true},
          MomentumFinalize{3, 33},
          MomentumGradient{3, 33},
          MovingFinalize{3, 33},
          MovingGradient{3, 33},
          CrossIterationSums{3, {5, 7, 6, 4, 3, 1, 1}},
          CrossIterationFinalize{1, 33, 5},
          CrossIterationKeep{1, 33, 5},
          EvoNormMoments{3, 7, 33},
          EvoNormApply{3, 7, 33, true},
          EvoNormGradientSums{3, 7, 33, true},
          EvoNormInputGradient{3, 7, 33, true},
          GroupNormForward{3, 7, 33, 11, 1e-5, true},
          GroupNormBackward{3, 7, 33, 11, true},
          ChannelNormForward{3, 7, 33, 1e-5, true},
          ChannelNormBackward{3, 7, 33, 1e-5, true},
          PointwiseNormForward{3, 7, 33, PointwiseFunction::erf, true},
          PointwiseNormBackward{3, 7, 33, PointwiseFunction::erf, true},
          ActivatedNormForward{3, {7, 33, 33, 1e-5, NormActivation::threshold, true}},
          ActivatedNormForward{3, {7, 33, 11, 1e-5, NormActivation::swish, true}},
          ActivatedNormBackward{3, {7, 33, 33, 1e-5, NormActivation::threshold, true}},
          ActivatedNormBackward{3, {7, 33, 11, 1e-5, NormActivation::swish, true}},
          SwitchableMoments{3, 7, 33},
          SwitchableFinalize{1, 33},
          SwitchableForward{3, 7, 33, 1e-5, true},
          SwitchableGradientSums{3, 7, 33, true},
          SwitchableInputGradient{3, 7, 33, true},
          ActivationForward{3, 37, Activation::relu},
          ActivationForward{3, 37, Activation::gelu},
          ActivationForward{3, 37, Activation::silu},
          ActivationForward{3, 37, Activation::hard_swish},
          ActivationBackward{3, 37, Activation::relu},
          ActivationBackward{3, 37, Activation::gelu},
          ActivationBackward{3, 37, Activation::silu},
          ActivationBackward{3, 37, Activation::hard_swish},
          Add{3, 37},
          ScaledAddForward{3, 7, 33, 0.2, true},
          ScaledAddBackward{3, 7, 33, 0.2, true},
          Dropout{3, 37, 0.5, 1},
          Dropout{3, 37, 0.5, 1, true},
          NormNoise{3, 7, 5},
          ToChannelsFirst{3, 7, 5, false},
          Convert{3, 37, Storage::f32},
          Convert{3, 37, Storage::bf16},
          SoftmaxCrossEntropy{3, 10, 0.1, 1.0},
          SgdUpdate{1, 100},
          AdamUpdate{1, 100},
          ExponentialAverage{1, 100},
          SumOfSquares{1, 100},
          GradientFactor{1, 1.0},
          AdaptiveClip{1, 10, 12},
          TreeFold{1, {0, 1}, 100, 100},
          MakeImages{2, 4, 4, 3}};
}

/// What the emulated CUDA device cannot compile, for want of cuDNN and cuBLASLt.
bool needs_libraries(const Op& op) {
  return std::holds_alternative<ConvForward>(op) || std::holds_alternative<ConvDgrad>(op) ||
         std::holds_alternative<ConvWgrad>(op) || std::holds_alternative<LinearForward>(op) ||
         std::holds_alternative<LinearDgrad>(op) || std::holds_alternative<LinearWgrad>(op);
}

class AllocationTest : public KernelTest {
 protected:
  /// Runs a kernel once, and expects no allocation in further runs.
  void expect_none(const Op& op, std::span<void* const> pointers) {
    const auto kernel = device_->compile(op);
    kernel->run(pointers, {});
    device_->synchronize();
    const std::size_t free = device_->free_bytes();
    const std::uint64_t on_device = emulation::device_allocations();
    EXPECT_EQ(allocations_in([&] {
                for (int i = 0; i < 3; ++i) kernel->run(pointers, {});
              }),
              0)
        << op_text(op);
    device_->synchronize();
    EXPECT_EQ(emulation::device_allocations(), on_device) << op_text(op);
    EXPECT_EQ(device_->free_bytes(), free) << op_text(op);
  }
};

TEST(AllocationCount, SeesAnAllocation) {
  EXPECT_EQ(allocations_in(allocate_visibly), 1);
  EXPECT_EQ(allocations_in([] {}), 0);
}

TEST(AllocationCount, SeesAnAllocationOnTheEmulatedDevice) {
  const std::unique_ptr<Device> device = cuda::make_device(0);
  const std::size_t free = device->free_bytes();
  const std::uint64_t before = emulation::device_allocations();
  Buffer buffer = device->allocate(1 << 16);
  EXPECT_EQ(emulation::device_allocations(), before + 1);
  EXPECT_LE(device->free_bytes() + (1 << 16), free);
  buffer = {};
  EXPECT_EQ(device->free_bytes(), free);
}

TEST_P(AllocationTest, NoKernelAllocatesAfterItsFirstRun) {
  std::set<std::size_t> kinds;
  for (const Op& op : all_operations()) {
    kinds.insert(op.index());
    if (emulated() && needs_libraries(op)) continue;
    std::vector<Buffer> buffers;
    std::vector<void*> pointers;
    for (std::size_t i = 0; i < operands(op).size(); ++i) {
      buffers.push_back(device_->allocate(1 << 17));
      pointers.push_back(buffers.back().data());
    }
    // Small positive numbers, whether they are read as sums or as values; labels stay class 0.
    const std::vector<double> twos((1 << 17) / sizeof(double), 2.0);
    if (!std::holds_alternative<SoftmaxCrossEntropy>(op))
      for (const Buffer& buffer : buffers)
        device_->copy(buffer.data(), twos.data(), buffer.bytes());
    expect_none(op, pointers);
  }
  // Max pooling's backward pass needs the positions that its forward pass kept.
  const PoolShape max{PoolKind::max, 6, 6, 5, 3, 3, 2, 1};
  const PoolForward forward{2, max, true};
  const Floats x = floats(random_normal(360, 1)), y = floats(90u), dx = floats(360u);
  const Array<unsigned char> kept(*device_, device_->workspace_bytes(forward));
  run(forward, {x, y, kept});
  expect_none(PoolBackward{2, max}, std::vector<void*>{y.pointer(), kept.pointer(), dx.pointer()});

  EXPECT_EQ(kinds.size(), std::variant_size_v<Op>) << "a kind of operation is not covered";
}

SYNCNORM_FOR_ALL_BACK_ENDS(AllocationTest);

}  // namespace
}  // namespace syncnorm::test
