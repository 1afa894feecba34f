// Programs with a loss per pixel: the gradient against finite differences, and a mean over the
// counted pixels of the global batch that does not depend on how its images are shared out.
#include <gtest/gtest.h>

#include <cmath>

#include <fmt/format.h>

#include "tests/engine/program/program_fixture.h"

namespace syncnorm::test {
namespace {

constexpr const char* kLoss =
    "loss: {label_smoothing: 0.1, dice: 0.6, class_weights: [1, 0.5, 2, 1, 0.25]}\n";

std::string yaml(int replicas, int batch, const std::string& norm, const std::string& more = "") {
  return fmt::format("replicas: {}\nbatch_per_replica: {}\nsteps: 1\nnorm: {}\n", replicas, batch,
                     norm) +
         more +
         "data: {dataset: fashion_scenes}\n"
         "model:\n"
         "  layers:\n"
         "    - {type: conv, out: 6, kernel: 3, padding: 1, bias: false}\n"
         "    - norm\n"
         "    - tanh\n"
         "    - {type: conv, out: 6, kernel: 3, padding: 2, dilation: 2, bias: false}\n"
         "    - norm\n"
         "    - tanh\n"
         "    - {type: conv, out: 5, kernel: 1}\n";
}

/// The scenes' images are made here, 8×8 pixels with 5 classes; of the first, no pixel counts.
Workbench bench(const std::string& text, std::vector<int> samples = {}) {
  return Workbench(text, {8, 8, 3}, 5, std::move(samples));
}

void expect_slopes(Workbench& setup) {
  for (std::size_t p = 0; p < setup.graph.parameters.size(); ++p) {
    setup.run();
    const std::vector<float> gradient(setup.gradient(p).begin(), setup.gradient(p).end());
    double square = 0.0;
    for (const float g : gradient) square += static_cast<double>(g) * static_cast<double>(g);
    ASSERT_GT(square, 1e-12) << setup.graph.parameters[p].name;
    const double norm = std::sqrt(square);
    const std::vector<float> start(setup.parameter(p).begin(), setup.parameter(p).end());
    const auto loss_at = [&](double step) {
      for (std::size_t i = 0; i < start.size(); ++i)
        setup.parameter(p)[i] = start[i] + static_cast<float>(step * gradient[i] / norm);
      return setup.run();
    };
    const double measured = (loss_at(1e-2) - loss_at(-1e-2)) / 2e-2;
    std::copy(start.begin(), start.end(), setup.parameter(p).begin());
    EXPECT_NEAR(norm, measured, 5e-4 + 0.01 * norm) << setup.graph.parameters[p].name;
  }
}

TEST(PixelLoss, GradientIsTheSlopeOfTheLoss) {
  for (const char* norm : {"syncbn", "bn", "{kind: group, groups: 2}", "none"})
    for (const char* loss : {"", kLoss}) {
      SCOPED_TRACE(testing::Message() << norm << " " << loss);
      Workbench setup = bench(yaml(2, 3, norm, loss));
      expect_slopes(setup);
    }
}

TEST(PixelLoss, GradientHoldsWithMergedReplicas) {
  Workbench setup = bench(yaml(2, 3, "syncbn", std::string(kLoss) + "reduction: fastest\n"));
  expect_slopes(setup);
}

// Replicas count different numbers of pixels, one of them none at all.
TEST(PixelLoss, TheMeanIsOverTheGlobalBatchHoweverItIsShared) {
  for (const char* norm : {"{kind: group, groups: 2}", "syncbn"})
    for (const char* loss : {"", kLoss}) {
      SCOPED_TRACE(testing::Message() << norm << " " << loss);
      Workbench one = bench(yaml(1, 6, norm, loss)), six = bench(yaml(6, 1, norm, loss));
      Workbench uneven = bench(yaml(3, 4, norm, loss), {4, 2, 0});
      uneven.take_images(one);
      const double expected = one.run();
      EXPECT_NEAR(six.run(), expected, 1e-6);
      EXPECT_NEAR(uneven.run(), expected, 1e-6);
      EXPECT_EQ(six.executor->loss()[3], one.executor->loss()[3]);
      EXPECT_EQ(uneven.executor->loss()[1], one.executor->loss()[1]);
      for (std::size_t p = 0; p < one.graph.parameters.size(); ++p)
        for (std::size_t i = 0; i < one.gradient(p).size(); ++i) {
          EXPECT_NEAR(six.gradient(p)[i], one.gradient(p)[i], 1e-6) << p << " " << i;
          EXPECT_NEAR(uneven.gradient(p)[i], one.gradient(p)[i], 1e-6) << p << " " << i;
        }
    }
}

TEST(PixelLoss, WithoutACountedPixelThereIsNoGradient) {
  Workbench setup = bench(yaml(2, 2, "bn", kLoss));
  std::fill(setup.masks.begin(), setup.masks.end(), std::uint8_t{255});
  EXPECT_EQ(setup.run(), 0.0);
  for (const float g : setup.gradients) EXPECT_EQ(g, 0.0f);
}

TEST(PixelLoss, InBf16LossAndGradientAreThoseOfF32ToItsPrecision) {
  Workbench exact = bench(yaml(2, 2, "syncbn", kLoss));
  Workbench narrow = bench(yaml(2, 2, "syncbn", std::string(kLoss) + "precision: bf16_emulated\n"));
  EXPECT_NEAR(narrow.run(), exact.run(), 0.02);
  double squares = 0.0, errors = 0.0;
  for (std::size_t i = 0; i < exact.gradients.size(); ++i) {
    squares += std::pow(exact.gradients[i], 2.0);
    errors += std::pow(narrow.gradients[i] - exact.gradients[i], 2.0);
  }
  EXPECT_GT(errors, 0.0);
  EXPECT_LE(std::sqrt(errors), 0.05 * std::sqrt(squares));
}

TEST(PixelLoss, TheCountIsUnderWayDuringTheForwardPass) {
  const Workbench setup = bench(yaml(2, 2, "{kind: group, groups: 2}"));
  const std::vector<Instruction>& list = setup.executor->program().instructions;
  std::vector<std::string> order;
  for (const Instruction& i : list) {
    if (i.pass == Pass::backward) break;
    if (i.kind == InstructionKind::reduce_start && i.layer == "pixel counts")
      order.push_back("start");
    if (i.kind == InstructionKind::reduce_wait && i.layer == "pixel counts")
      order.push_back("wait");
    if (i.kind == InstructionKind::compute && std::holds_alternative<ConvForward>(i.op))
      order.push_back("conv");
    if (i.kind == InstructionKind::compute && std::holds_alternative<PixelLoss>(i.op))
      order.push_back("loss");
  }
  EXPECT_EQ(order, (std::vector<std::string>{"start", "conv", "conv", "conv", "wait", "loss"}));
}

}  // namespace
}  // namespace syncnorm::test
