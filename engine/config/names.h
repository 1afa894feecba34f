// The words of the configuration: one list per enumeration maps the name of every choice to its
// value. Parsing, printing and the reference page all read these lists.
#pragma once

#include <span>
#include <string_view>

#include "engine/config/experiment.h"

namespace syncnorm {

template <typename E>
struct Choice {
  std::string_view name;
  E value;
};

namespace config {

inline constexpr Choice<DeviceKind> kDeviceKinds[] = {{"cpu", DeviceKind::cpu},
                                                      {"cuda", DeviceKind::cuda}};
inline constexpr Choice<Precision> kPrecisions[] = {{"f32", Precision::f32},
                                                    {"bf16", Precision::bf16},
                                                    {"bf16_emulated", Precision::bf16_emulated}};
inline constexpr Choice<ReductionMode> kReductionModes[] = {
    {"reproducible", ReductionMode::reproducible}, {"fastest", ReductionMode::fastest}};
inline constexpr Choice<NormKind> kNormKinds[] = {{"none", NormKind::none},
                                                  {"batch", NormKind::batch},
                                                  {"momentum", NormKind::momentum},
                                                  {"mabn", NormKind::mabn},
                                                  {"cross_iteration", NormKind::cross_iteration},
                                                  {"group", NormKind::group},
                                                  {"layer", NormKind::layer},
                                                  {"instance", NormKind::instance},
                                                  {"rms", NormKind::rms},
                                                  {"frn", NormKind::frn},
                                                  {"evonorm_s0", NormKind::evonorm_s0},
                                                  {"switchable", NormKind::switchable},
                                                  {"evonorm_b0", NormKind::evonorm_b0},
                                                  {"dyt", NormKind::dyt},
                                                  {"derf", NormKind::derf},
                                                  {"frozen", NormKind::frozen}};
inline constexpr Choice<LayerNormOver> kLayerNormOvers[] = {{"sample", LayerNormOver::sample},
                                                            {"channels", LayerNormOver::channels}};
inline constexpr Choice<WeightsKind> kWeightsKinds[] = {
    {"plain", WeightsKind::plain},
    {"normalized", WeightsKind::normalized},
    {"standardized", WeightsKind::standardized},
    {"scaled_standardized", WeightsKind::scaled_standardized},
    {"centered", WeightsKind::centered}};
inline constexpr Choice<Deviation> kDeviations[] = {
    {"l2", Deviation::l2}, {"l1", Deviation::l1}, {"linf", Deviation::linf}};
inline constexpr Choice<FrozenParts> kFrozenParts[] = {{"both", FrozenParts::both},
                                                       {"statistics", FrozenParts::statistics},
                                                       {"affine", FrozenParts::affine}};
inline constexpr Choice<EvaluationStatistics> kEvaluationStatistics[] = {
    {"running", EvaluationStatistics::running},
    {"precise", EvaluationStatistics::precise},
    {"batch", EvaluationStatistics::batch},
    {"test_set", EvaluationStatistics::test_set},
    {"mixed", EvaluationStatistics::mixed}};
inline constexpr Choice<AverageStatistics> kAverageStatistics[] = {
    {"average", AverageStatistics::average},
    {"copy", AverageStatistics::copy},
    {"precise", AverageStatistics::precise}};
inline constexpr Choice<NormPosition> kNormPositions[] = {
    {"before_activation", NormPosition::before_activation},
    {"after_activation", NormPosition::after_activation}};
inline constexpr Choice<ActivationKind> kActivationKinds[] = {
    {"identity", ActivationKind::identity},
    {"relu", ActivationKind::relu},
    {"sigmoid", ActivationKind::sigmoid},
    {"tanh", ActivationKind::tanh},
    {"elu", ActivationKind::elu},
    {"selu", ActivationKind::selu},
    {"gelu", ActivationKind::gelu},
    {"silu", ActivationKind::silu},
    {"hard_swish", ActivationKind::hard_swish}};
inline constexpr Choice<InitializationKind> kInitializationKinds[] = {
    {"he", InitializationKind::he},
    {"lecun", InitializationKind::lecun},
    {"xavier", InitializationKind::xavier},
    {"gaussian", InitializationKind::gaussian}};
inline constexpr Choice<DropoutKind> kDropoutKinds[] = {{"plain", DropoutKind::plain},
                                                        {"alpha", DropoutKind::alpha}};
inline constexpr Choice<ResidualKind> kResidualKinds[] = {
    {"plain", ResidualKind::plain},
    {"skipinit", ResidualKind::skipinit},
    {"rezero", ResidualKind::rezero},
    {"normalizer_free", ResidualKind::normalizer_free}};
inline constexpr Choice<ClipKind> kClipKinds[] = {{"norm", ClipKind::norm},
                                                  {"adaptive", ClipKind::adaptive}};
inline constexpr Choice<OptimizerKind> kOptimizerKinds[] = {
    {"sgd", OptimizerKind::sgd}, {"adam", OptimizerKind::adam}, {"adamw", OptimizerKind::adamw}};
inline constexpr Choice<ScheduleKind> kScheduleKinds[] = {{"constant", ScheduleKind::constant},
                                                          {"step", ScheduleKind::step},
                                                          {"cosine", ScheduleKind::cosine},
                                                          {"polynomial", ScheduleKind::polynomial}};
inline constexpr Choice<AugmentKind> kAugmentKinds[] = {
    {"random_crop", AugmentKind::random_crop},
    {"horizontal_flip", AugmentKind::horizontal_flip},
    {"cutout", AugmentKind::cutout},
    {"random_resized_crop", AugmentKind::random_resized_crop},
    {"color_jitter", AugmentKind::color_jitter}};
inline constexpr Choice<CorruptPolicy> kCorruptPolicies[] = {{"stop", CorruptPolicy::stop},
                                                             {"skip", CorruptPolicy::skip}};

inline constexpr Choice<DatasetKind> kDatasets[] = {{"fashion_mnist", DatasetKind::fashion_mnist},
                                                    {"mnist", DatasetKind::mnist},
                                                    {"cifar10", DatasetKind::cifar10},
                                                    {"cifar100", DatasetKind::cifar100},
                                                    {"synthetic", DatasetKind::synthetic},
                                                    {"image_folder", DatasetKind::image_folder},
                                                    {"packed", DatasetKind::packed}};
inline constexpr Choice<Architecture> kArchitectures[] = {{"mlp", Architecture::mlp},
                                                          {"convnet", Architecture::convnet},
                                                          {"lenet", Architecture::lenet},
                                                          {"vgg11", Architecture::vgg11},
                                                          {"vgg13", Architecture::vgg13},
                                                          {"vgg16", Architecture::vgg16},
                                                          {"resnet8", Architecture::resnet8},
                                                          {"resnet20", Architecture::resnet20},
                                                          {"resnet32", Architecture::resnet32},
                                                          {"resnet56", Architecture::resnet56},
                                                          {"resnet18", Architecture::resnet18},
                                                          {"resnet34", Architecture::resnet34},
                                                          {"resnet50", Architecture::resnet50},
                                                          {"unet", Architecture::unet},
                                                          {"deeplabv3", Architecture::deeplabv3},
                                                          {"linknet", Architecture::linknet}};
inline constexpr Choice<Backbone> kBackbones[] = {{"resnet18", Backbone::resnet18},
                                                  {"resnet50", Backbone::resnet50},
                                                  {"resnet20", Backbone::resnet20}};
inline constexpr Choice<LayerType> kLayerTypes[] = {{"conv", LayerType::conv},
                                                    {"conv_transpose", LayerType::conv_transpose},
                                                    {"linear", LayerType::linear},
                                                    {"max_pool", LayerType::max_pool},
                                                    {"average_pool", LayerType::average_pool},
                                                    {"global_pool", LayerType::global_pool},
                                                    {"norm", LayerType::norm},
                                                    {"relu", LayerType::relu},
                                                    {"sigmoid", LayerType::sigmoid},
                                                    {"tanh", LayerType::tanh},
                                                    {"elu", LayerType::elu},
                                                    {"selu", LayerType::selu},
                                                    {"gelu", LayerType::gelu},
                                                    {"silu", LayerType::silu},
                                                    {"hard_swish", LayerType::hard_swish},
                                                    {"dropout", LayerType::dropout},
                                                    {"alpha_dropout", LayerType::alpha_dropout},
                                                    {"add", LayerType::add},
                                                    {"upsample", LayerType::upsample},
                                                    {"concat", LayerType::concat},
                                                    {"multiply", LayerType::multiply},
                                                    {"flatten", LayerType::flatten}};
inline constexpr Choice<UpsampleMode> kUpsampleModes[] = {{"nearest", UpsampleMode::nearest},
                                                          {"bilinear", UpsampleMode::bilinear}};

constexpr std::span<const Choice<DeviceKind>> choices(DeviceKind) { return kDeviceKinds; }
constexpr std::span<const Choice<Precision>> choices(Precision) { return kPrecisions; }
constexpr std::span<const Choice<ReductionMode>> choices(ReductionMode) { return kReductionModes; }
constexpr std::span<const Choice<NormKind>> choices(NormKind) { return kNormKinds; }
constexpr std::span<const Choice<Deviation>> choices(Deviation) { return kDeviations; }
constexpr std::span<const Choice<LayerNormOver>> choices(LayerNormOver) { return kLayerNormOvers; }
constexpr std::span<const Choice<WeightsKind>> choices(WeightsKind) { return kWeightsKinds; }
constexpr std::span<const Choice<FrozenParts>> choices(FrozenParts) { return kFrozenParts; }
constexpr std::span<const Choice<EvaluationStatistics>> choices(EvaluationStatistics) {
  return kEvaluationStatistics;
}
constexpr std::span<const Choice<AverageStatistics>> choices(AverageStatistics) {
  return kAverageStatistics;
}
constexpr std::span<const Choice<NormPosition>> choices(NormPosition) { return kNormPositions; }
constexpr std::span<const Choice<ActivationKind>> choices(ActivationKind) {
  return kActivationKinds;
}
constexpr std::span<const Choice<InitializationKind>> choices(InitializationKind) {
  return kInitializationKinds;
}
constexpr std::span<const Choice<DropoutKind>> choices(DropoutKind) { return kDropoutKinds; }
constexpr std::span<const Choice<ResidualKind>> choices(ResidualKind) { return kResidualKinds; }
constexpr std::span<const Choice<ClipKind>> choices(ClipKind) { return kClipKinds; }
constexpr std::span<const Choice<OptimizerKind>> choices(OptimizerKind) { return kOptimizerKinds; }
constexpr std::span<const Choice<ScheduleKind>> choices(ScheduleKind) { return kScheduleKinds; }
constexpr std::span<const Choice<AugmentKind>> choices(AugmentKind) { return kAugmentKinds; }
constexpr std::span<const Choice<CorruptPolicy>> choices(CorruptPolicy) { return kCorruptPolicies; }
constexpr std::span<const Choice<DatasetKind>> choices(DatasetKind) { return kDatasets; }
constexpr std::span<const Choice<Architecture>> choices(Architecture) { return kArchitectures; }
constexpr std::span<const Choice<Backbone>> choices(Backbone) { return kBackbones; }
constexpr std::span<const Choice<LayerType>> choices(LayerType) { return kLayerTypes; }
constexpr std::span<const Choice<UpsampleMode>> choices(UpsampleMode) { return kUpsampleModes; }

}  // namespace config

/// Returns the configuration's word for `value`, for example "batch".
template <typename E>
constexpr std::string_view name_of(E value) {
  for (const Choice<E>& choice : config::choices(E{})) {
    if (choice.value == value) return choice.name;
  }
  return "?";
}

}  // namespace syncnorm
