// The text of an operation is what ranks compare and what compiled kernels are cached by: two
// operations that differ in anything must differ in it.
#include "kernels/ops.h"

#include <gtest/gtest.h>

#include <functional>
#include <map>
#include <set>

namespace syncnorm {
namespace {

template <class T>
using Mutations = std::vector<std::function<void(T&)>>;

/// One mutation per field, each to a value that the field does not have by default.
template <class T>
void expect_all_different(T op, const Mutations<T>& mutations) {
  std::map<std::string, std::size_t> seen = {{op_text(op), 0}};
  for (std::size_t i = 0; i < mutations.size(); ++i) {
    T changed = op;
    mutations[i](changed);
    const auto [at, fresh] = seen.insert({op_text(changed), i + 1});
    EXPECT_TRUE(fresh) << op_name(op) << ": fields " << at->second << " and " << i + 1
                       << " (0: no change) share the text '" << at->first << "'";
  }
}

/// The mutations of an operation that has a shape or other fields beyond `samples`.
template <class T>
Mutations<T> with_count(Mutations<T> others) {
  others.push_back([](T& o) { o.samples = 9; });
  if constexpr (requires(T o) { o.storage; })
    others.push_back([](T& o) { o.storage = Storage::bf16; });
  return others;
}

template <class T>
Mutations<T> conv_fields() {
  return with_count<T>({[](T& o) { o.shape.height = 31; }, [](T& o) { o.shape.width = 31; },
                        [](T& o) { o.shape.channels = 31; }, [](T& o) { o.shape.filters = 31; },
                        [](T& o) { o.shape.kernel = 5; }, [](T& o) { o.shape.stride = 2; },
                        [](T& o) { o.shape.padding = 2; }, [](T& o) { o.shape.bias = true; },
                        [](T& o) { o.shape.pack_samples = 3; }});
}

template <class T>
Mutations<T> pool_fields() {
  return with_count<T>(
      {[](T& o) { o.shape.kind = PoolKind::average; }, [](T& o) { o.shape.height = 31; },
       [](T& o) { o.shape.width = 31; }, [](T& o) { o.shape.channels = 31; },
       [](T& o) { o.shape.kernel_height = 3; }, [](T& o) { o.shape.kernel_width = 3; },
       [](T& o) { o.shape.stride = 3; }, [](T& o) { o.shape.padding = 1; }});
}

template <class T>
Mutations<T> norm_fields() {
  return with_count<T>({[](T& o) { o.pixels = 17; }, [](T& o) { o.channels = 17; }});
}

constexpr ConvShape kConv{16, 16, 8, 4, 3, 1, 1, false, 1};
constexpr PoolShape kPool{PoolKind::max, 8, 8, 4, 2, 2, 2, 0};

TEST(OpText, TellsConvolutionsApart) {
  auto pack = conv_fields<ConvPack>();
  pack.push_back([](ConvPack& o) { o.for_dgrad = true; });
  expect_all_different(ConvPack{1, kConv, false}, pack);
  expect_all_different(ConvForward{1, kConv}, conv_fields<ConvForward>());
  expect_all_different(ConvDgrad{1, kConv}, conv_fields<ConvDgrad>());
  expect_all_different(ConvWgrad{1, kConv}, conv_fields<ConvWgrad>());
}

// A change that keeps the size of the output, or swaps two numbers, is still a change.
TEST(OpText, TellsConvolutionsOfOneOutputSizeApart) {
  std::set<std::string> texts;
  for (const ConvShape& shape :
       {ConvShape{7, 7, 4, 4, 3, 2, 1, false, 1}, ConvShape{8, 8, 4, 4, 3, 2, 1, false, 1},
        ConvShape{8, 7, 4, 4, 3, 2, 1, false, 1}, ConvShape{7, 7, 4, 4, 1, 2, 0, false, 1},
        ConvShape{7, 7, 4, 4, 5, 2, 2, false, 1}, ConvShape{7, 7, 4, 4, 3, 2, 1, false, 11},
        ConvShape{4, 4, 7, 7, 3, 2, 1, false, 1}, ConvShape{7, 7, 4, 4, 3, 2, 1, true, 1}})
    EXPECT_TRUE(texts.insert(op_text(ConvForward{1, shape})).second);
}

TEST(OpText, TellsComputedWeightsApart) {
  const auto weight = []<class T>(T op, Mutations<T> more) {
    auto fields = with_count<T>({[](T& o) { o.outputs = 7; }, [](T& o) { o.inputs = 7; },
                                 [](T& o) { o.standardize = true; }});
    fields.insert(fields.end(), more.begin(), more.end());
    expect_all_different(op, fields);
  };
  weight(WeightNormalize{1, 10, 20, false, 1e-5}, {[](auto& o) { o.eps = 1.0000001e-5; }});
  weight(WeightNormalizeBackward{1, 10, 20, false}, {});
}

TEST(OpText, TellsLinearAndPoolingApart) {
  const auto linear = []<class T>(T op) {
    expect_all_different(op, with_count<T>({[](T& o) { o.in = 7; }, [](T& o) { o.out = 7; }}));
  };
  linear(LinearForward{1, 10, 20});
  linear(LinearDgrad{1, 10, 20});
  linear(LinearWgrad{1, 10, 20});
  auto forward = pool_fields<PoolForward>();
  forward.push_back([](PoolForward& o) { o.training = false; });
  expect_all_different(PoolForward{1, kPool, true}, forward);
  expect_all_different(PoolBackward{1, kPool}, pool_fields<PoolBackward>());
}

TEST(OpText, TellsNormsApart) {
  expect_all_different(BatchMoments{1, 4, 8}, norm_fields<BatchMoments>());
  expect_all_different(BatchFinalize{1, 8, 1e-5, 0.1},
                       with_count<BatchFinalize>({[](auto& o) { o.channels = 9; },
                                                  [](auto& o) { o.eps = 1.0000001e-5; },
                                                  [](auto& o) { o.momentum = 0.10000001; }}));
  BatchFinalize renormalized{1, 8, 1e-5, 0.1};
  renormalized.renormalization = {true, 3.0, 5.0, 0, 0};
  expect_all_different(renormalized, {[](auto& o) { o.renormalization.on = false; },
                                      [](auto& o) { o.renormalization.r_max = 3.0000001; },
                                      [](auto& o) { o.renormalization.d_max = 5.0000001; },
                                      [](auto& o) { o.renormalization.start = 7; },
                                      [](auto& o) { o.renormalization.ramp = 7; }});
  expect_all_different(BatchFromRunning{1, 8, 1e-5},
                       with_count<BatchFromRunning>({[](auto& o) { o.channels = 9; },
                                                     [](auto& o) { o.eps = 1.0000001e-5; }}));
  const auto fused = []<class T>(T op) {
    auto fields = norm_fields<T>();
    fields.push_back([](T& o) { o.relu = true; });
    expect_all_different(op, fields);
  };
  fused(BatchNormalize{1, 4, 8, false});
  fused(BatchGradientSums{1, 4, 8, false});
  fused(BatchInputGradient{1, 4, 8, false});
  fused(BatchInputGradient{1, 4, 8, false, Deviation::l1, 1.25});
  const auto group = []<class T>(T op, Mutations<T> more) {
    auto fields = norm_fields<T>();
    fields.push_back([](T& o) { o.relu = true; });
    fields.push_back([](T& o) { o.groups = 4; });
    fields.push_back([](T& o) { o.centered = false; });
    fields.insert(fields.end(), more.begin(), more.end());
    expect_all_different(op, fields);
  };
  group(GroupNormForward{1, 4, 8, 2, 1e-5, false}, {[](auto& o) { o.eps = 1.0000001e-5; }});
  group(GroupNormBackward{1, 4, 8, 2, false}, {});
}

TEST(OpText, TellsDeviationsApart) {
  auto part = norm_fields<BatchDeviation>();
  part.push_back([](auto& o) { o.part = DeviationPart::largest; });
  part.push_back([](auto& o) { o.part = DeviationPart::maxima; });
  expect_all_different(BatchDeviation{1, 4, 8, DeviationPart::absolute}, part);
  expect_all_different(
      BatchFinalizeDeviation{1, 8, Deviation::l1, 1.0, 1e-5, 0.1},
      with_count<BatchFinalizeDeviation>(
          {[](auto& o) { o.channels = 9; }, [](auto& o) { o.deviation = Deviation::linf; },
           [](auto& o) { o.factor = 1.2533141373155003; }, [](auto& o) { o.eps = 1.0000001e-5; },
           [](auto& o) { o.momentum = 0.10000001; }}));
  expect_all_different(
      BatchInputGradient{1, 4, 8, false, Deviation::l1, 1.0, false},
      {[](auto& o) { o.deviation = Deviation::l2; }, [](auto& o) { o.deviation = Deviation::linf; },
       [](auto& o) { o.factor = 1.2533141373155003; }, [](auto& o) { o.frozen = true; }});
}

TEST(OpText, TellsPointwiseOperationsApart) {
  const auto activation = []<class T>(T op) {
    Mutations<T> fields = with_count<T>({[](T& o) { o.size = 11; }});
    for (const Activation kind : {Activation::sigmoid, Activation::tanh, Activation::elu,
                                  Activation::selu, Activation::gelu})
      fields.push_back([kind](T& o) { o.kind = kind; });
    expect_all_different(op, fields);
  };
  activation(ActivationForward{1, 10, Activation::relu});
  activation(ActivationBackward{1, 10, Activation::relu});
  expect_all_different(Add{1, 10}, with_count<Add>({[](Add& o) { o.size = 11; }}));
  expect_all_different(
      Dropout{1, 10, 0.5, 0},
      with_count<Dropout>({[](auto& o) { o.size = 11; }, [](auto& o) { o.p = 0.50000001; },
                           [](auto& o) { o.layer = 1; }, [](auto& o) { o.alpha = true; },
                           [](auto& o) { o.backward = true; }}));
  auto noise = norm_fields<NormNoise>();
  for (double NormNoise::*field :
       {&NormNoise::mean, &NormNoise::scale, &NormNoise::sample_mean, &NormNoise::sample_scale})
    noise.push_back([field](NormNoise& o) { o.*field += 1e-9; });
  noise.push_back([](NormNoise& o) { o.layer = 1; });
  noise.push_back([](NormNoise& o) { o.backward = true; });
  noise.push_back([](NormNoise& o) { o.expected = true; });
  expect_all_different(NormNoise{1, 4, 8}, noise);
  auto transpose = norm_fields<ToChannelsFirst>();
  transpose.push_back([](ToChannelsFirst& o) { o.inverse = true; });
  expect_all_different(ToChannelsFirst{1, 4, 8, false}, transpose);
  expect_all_different(Convert{1, 10, Storage::f32},
                       with_count<Convert>({[](Convert& o) { o.size = 11; },
                                            [](Convert& o) { o.from = Storage::bf16; }}));
}

TEST(OpText, TellsLossAndUpdatesApart) {
  expect_all_different(
      SoftmaxCrossEntropy{1, 10, 0.0, 1.0},
      with_count<SoftmaxCrossEntropy>({[](auto& o) { o.classes = 11; },
                                       [](auto& o) { o.label_smoothing = 1e-9; },
                                       [](auto& o) { o.gradient_scale = 1.0 + 1e-15; }}));
  expect_all_different(
      SgdUpdate{1, 100, 0.9, 0.0, false},
      with_count<SgdUpdate>({[](auto& o) { o.count = 101; }, [](auto& o) { o.momentum = 0.91; },
                             [](auto& o) { o.weight_decay = 0.9; },
                             [](auto& o) { o.nesterov = true; }}));
  expect_all_different(
      AdamUpdate{1, 100, 0.9, 0.999, 1e-8, 0.0, false},
      with_count<AdamUpdate>({[](auto& o) { o.count = 101; }, [](auto& o) { o.beta1 = 0.999; },
                              [](auto& o) { o.beta2 = 0.9; }, [](auto& o) { o.eps = 1e-9; },
                              [](auto& o) { o.weight_decay = 0.1; },
                              [](auto& o) { o.decoupled = true; }}));
  expect_all_different(SumOfSquares{1, 5},
                       with_count<SumOfSquares>({[](auto& o) { o.count = 6; }}));
  expect_all_different(GradientFactor{1, 0.5},
                       with_count<GradientFactor>({[](auto& o) { o.clip_norm = 0.25; }}));
  expect_all_different(
      TreeFold{1, {0, 1}, 5, 6},
      with_count<TreeFold>({[](auto& o) {
                              o.merges = {0, 0};
                            },
                            [](auto& o) { o.count = 4; }, [](auto& o) { o.stride = 7; },
                            [](auto& o) { o.maximum = true; },
                            [](auto& o) { o.doubles = false; }}));
  expect_all_different(
      MakeImages{1, 8, 8, 3},
      with_count<MakeImages>({[](auto& o) { o.height = 4; }, [](auto& o) { o.width = 4; },
                              [](auto& o) { o.channels = 1; }}));
}

/// The default operation of every kind, from the variant itself, so that a new one cannot be left
/// out.
template <std::size_t... I>
std::vector<Op> one_of_each(std::index_sequence<I...>) {
  return {Op(std::variant_alternative_t<I, Op>{})...};
}

std::vector<Op> one_of_each() {
  return one_of_each(std::make_index_sequence<std::variant_size_v<Op>>());
}

TEST(OpText, EveryKindHasANameOfItsOwn) {
  std::set<std::string> names, texts;
  for (const Op& op : one_of_each()) {
    EXPECT_FALSE(op_name(op).empty());
    EXPECT_TRUE(names.insert(op_name(op)).second) << op_name(op);
    EXPECT_TRUE(texts.insert(op_text(op)).second) << op_text(op);
    EXPECT_EQ(op_text(op).find(op_name(op)), 0u);
  }
}

TEST(WithSamples, ChangesTheSamplesAlone) {
  for (const Op& op : one_of_each()) {
    const Op seven = with_samples(op, 7);
    EXPECT_EQ(std::visit([](const auto& o) { return o.samples; }, seven), 7);
    EXPECT_EQ(op_text(with_samples(seven, 1)), op_text(op));
    EXPECT_NE(op_text(seven), op_text(op));
  }
}

}  // namespace
}  // namespace syncnorm
