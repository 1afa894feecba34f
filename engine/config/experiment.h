// The typed experiment, which the user's YAML is loaded into. Plain data, no parsing.
//
// Every member is one key of the schema (engine/config/schema_*.cpp), which documents its default,
// range and meaning. The default values are only here.
#pragma once

#include <algorithm>
#include <cstdint>
#include <string>
#include <vector>

#include "engine/config/norm_config.h"
#include "kernels/ops/resample.h"

namespace syncnorm {

enum class DeviceKind { cpu, cuda };
enum class Precision { f32, bf16, bf16_emulated };

constexpr Storage activation_storage(Precision precision) {
  return precision == Precision::f32 ? Storage::f32 : Storage::bf16;
}
enum class ReductionMode { reproducible, fastest };
enum class NormPosition { before_activation, after_activation };
enum class ActivationKind { identity, relu, sigmoid, tanh, elu, selu, gelu, silu, hard_swish };
enum class InitializationKind { he, lecun, xavier, gaussian };
enum class DropoutKind { plain, alpha };
enum class ResidualKind { plain, skipinit, rezero, normalizer_free };
enum class ClipKind { norm, adaptive };
enum class OptimizerKind { sgd, adam, adamw };
enum class ScheduleKind { constant, step, cosine, polynomial };
enum class AugmentKind { random_crop, horizontal_flip, cutout, random_resized_crop, color_jitter };
enum class CorruptPolicy { stop, skip };
enum class DatasetKind { fashion_mnist, mnist, cifar10, cifar100, synthetic, image_folder, packed };
enum class Architecture {
  mlp,
  convnet,
  lenet,
  vgg11,
  vgg13,
  vgg16,
  resnet8,
  resnet20,
  resnet32,
  resnet56,
  resnet18,
  resnet34,
  resnet50,
  unet,
  deeplabv3,
  linknet
};
/// The ResNet in front of deeplabv3.
enum class Backbone { resnet18, resnet50, resnet20 };
enum class LayerType {
  conv,
  conv_transpose,
  linear,
  max_pool,
  average_pool,
  global_pool,
  norm,
  relu,
  sigmoid,
  tanh,
  elu,
  selu,
  gelu,
  silu,
  hard_swish,
  dropout,
  alpha_dropout,
  add,
  upsample,
  concat,
  multiply,
  flatten
};

struct SyntheticConfig {
  int classes = 10;
  int height = 28;
  int width = 28;
  int channels = 1;
  int train_samples = 4096;
  int test_samples = 1024;
};

/// image_folder and packed: encoded images of any size, decoded during training.
struct ImagesConfig {
  int height = 224;  // of the model's input, pixels
  int width = 224;
  int resize = 256;         // evaluation: shorter side before the center crop, pixels
  double crop_area = 0.08;  // random_resized_crop: smallest fraction of the image's area
  double brightness = 0.4;  // color_jitter: factors from 1 − this to 1 + this
  double contrast = 0.4;
  double saturation = 0.4;
  std::vector<double> mean = {0.485, 0.456, 0.406};  // red, green, blue, for ImageNet
  std::vector<double> std = {0.229, 0.224, 0.225};
  int threads = 1;  // decoding threads per rank
  CorruptPolicy corrupt = CorruptPolicy::stop;
};

struct DataConfig {
  DatasetKind dataset = DatasetKind::fashion_mnist;
  std::string path = "auto";  // folder with the files; auto: the usual folders
  bool shuffle = true;
  std::vector<AugmentKind> augment;
  int crop_padding = 4;  // pixels of zero padding around the image for random_crop
  int cutout_size = 8;   // side of cutout's square, pixels
  int limit = 0;         // > 0: only the first `limit` samples of the training split
  int validation = 0;    // number of training samples split off, by seed, as `validation`
  int prefetch = 2;      // batches prepared ahead
  SyntheticConfig synthetic;
  ImagesConfig images;

  /// Returns true if images stay encoded on disk until needed.
  bool on_disk() const {
    return dataset == DatasetKind::image_folder || dataset == DatasetKind::packed;
  }
};

/// The statistics by which batch norms normalize in an evaluation.
enum class EvaluationStatistics { running, precise, batch, test_set, mixed };

struct EvaluationConfig {
  int every_epochs = 1;
  int every_steps = 0;
  /// One evaluation each. The first decides about the best checkpoint, and in studies.
  std::vector<EvaluationStatistics> statistics = {EvaluationStatistics::running};
  int batch = 0;  // batch, precise, test_set: samples normalized together; 0: as in training
  int precise_samples = 2048;  // precise, where norm.precise_samples is 0
  std::vector<double> mixed_weights = {0.0, 0.05, 0.1, 0.2, 0.3, 0.5, 0.7, 1.0};  // of the sample

  bool has(EvaluationStatistics wanted) const {
    return std::find(statistics.begin(), statistics.end(), wanted) != statistics.end();
  }
  /// Returns true for the evaluation that every run has.
  bool only_running() const {
    return statistics.size() == 1 && statistics[0] == EvaluationStatistics::running;
  }
};

/// One entry of model.layers. `type` determines which fields are used.
struct LayerSpec {
  LayerType type = LayerType::conv;
  std::string name;               // optional; default: type and number
  std::string input;              // optional: the layer this one reads instead of the previous one
  std::vector<std::string> from;  // add, multiply: the other layer; concat: one or more
  int out = 0;                    // conv, conv_transpose, linear: output channels or features
  int kernel = 0;                 // conv, conv_transpose, max_pool, average_pool
  int stride = 1;                 // conv, conv_transpose; pools default to their kernel
  int padding = 0;
  int output_padding = 0;                     // conv_transpose
  int dilation = 1, groups = 1;               // conv, conv_transpose
  UpsampleMode mode = UpsampleMode::nearest;  // upsample
  int scale = 0;                              // upsample: factor of height and width; 0: as `to`
  std::string to;                             // upsample: the layer whose size it takes
  bool align_corners = false;                 // upsample, bilinear
  bool bias = true;
  double p = 0.5;  // dropout, alpha_dropout: probability that a value is dropped
  SourceMark mark;
};

/// How a residual block of a ResNet adds its branch.
struct ResidualConfig {
  ResidualKind kind = ResidualKind::plain;
  double alpha = 0.2;  // normalizer_free
};

struct ModelConfig {
  Architecture architecture = Architecture::resnet20;  // ignored when `layers` is given
  std::vector<LayerSpec> layers;
  std::vector<int> hidden = {256, 128, 64};    // mlp: width of each hidden layer
  int width = 16;                              // unet: channels of the first level
  int depth = 4;                               // unet: levels below the first
  Backbone backbone = Backbone::resnet50;      // deeplabv3
  int aspp_channels = 256;                     // deeplabv3: channels of every branch
  std::vector<int> aspp_rates = {12, 24, 36};  // deeplabv3: dilations of the branches
  ActivationKind activation = ActivationKind::relu;
  NormPosition norm_position = NormPosition::before_activation;  // not ResNets
  InitializationKind initialization = InitializationKind::he;
  double initialization_std = 0.01;  // gaussian only
  bool zero_gamma = false;           // γ = 0 in the last norm of every residual block
  double dropout = 0.0;              // before the classifier; 0: none
  DropoutKind dropout_kind = DropoutKind::plain;
  ResidualConfig residual;
};

struct OptimizerConfig {
  OptimizerKind kind = OptimizerKind::sgd;
  double lr = 0.1;
  double momentum = 0.9;
  bool nesterov = false;
  double weight_decay = 0.0;
  bool decay_norm_and_bias = false;
  double beta1 = 0.9;
  double beta2 = 0.999;
  double eps = 1e-8;
  ClipKind clip = ClipKind::norm;
  double clip_norm = 0.0;      // norm, > 0: clip the gradient's global 2-norm
  double clip_ratio = 0.01;    // adaptive: largest 2-norm of a unit's gradient relative to it
  int lr_reference_batch = 0;  // > 0: lr is scaled by global_batch / lr_reference_batch
};

/// The running statistics with which averaged weights are evaluated.
enum class AverageStatistics { average, copy, precise };

/// An exponential moving average of the weights, evaluated beside them.
struct EmaConfig {
  double decay = 0.0;  // of the average in an update; 0: there is no average
  int every = 1;       // updates
  AverageStatistics statistics = AverageStatistics::average;
};

struct ScheduleConfig {
  ScheduleKind kind = ScheduleKind::constant;
  int warmup_steps = 0;
  std::vector<int> milestones;  // step: updates after which lr is multiplied by `gamma`
  double gamma = 0.1;
  double power = 1.0;     // polynomial
  double final_lr = 0.0;  // cosine, polynomial: final rate
};

struct LossConfig {
  double label_smoothing = 0.0;
};

struct CheckpointConfig {
  int every_steps = 0;
  int every_epochs = 1;
  int keep = 2;
};

struct FaultConfig {
  double deadline = 600.0;      // seconds without progress of a rank until the job is ended
  int check_every_steps = 200;  // updates between comparisons of the parameters; 0: none
};

struct MetricsConfig {
  bool prometheus = false;                               // serve /metrics during the run
  std::vector<std::string> listen = {"127.0.0.1:9464"};  // numeric host:port; port 0: any free one
  double linger = 10.0;       // seconds that the run waits at its end for a scrape of its outcome
  bool required = false;      // end the run if the exporter cannot listen
  std::string user;           // basic authentication; "": none
  std::string password_file;  // mode 0600
  std::string file_sd_dir;    // folder in which Prometheus finds targets, or ""
  std::string textfile;       // file for node_exporter, written at the end, or ""
  std::string pushgateway;    // http://host:port that receives the outcome, or ""
  bool layers = false;        // statistics of every normalization layer
  int layer_limit = 64;       // number of layers shown, from the first
  int every_steps = 50;       // updates between samples of layers and of the gradient norm
  bool tensorboard = false;   // event files in run_dir

  /// Returns true if the metrics of all ranks are used.
  bool any() const { return prometheus || !textfile.empty() || !pushgateway.empty(); }
};

struct ProbesConfig {
  int every_steps = 0;  // updates between measurements; 0: none
  bool activations = true;
  bool gradients = true;
  bool landscape = false;
  double landscape_from = 0.05, landscape_to = 0.4;  // steps along the gradient
  int landscape_points = 8;
  bool covariate_shift = false;
  bool signal_to_noise = false;
  bool replica_spread = false;
};

struct Experiment {
  std::string name = "experiment";
  std::uint64_t seed = 1;
  DeviceKind device = DeviceKind::cpu;
  bool allow_shared_gpu = false;
  Precision precision = Precision::f32;
  ReductionMode reduction = ReductionMode::reproducible;
  int replicas = 8;
  int batch_per_replica = 2;
  int epochs = 3;  // 0 when `steps` is given
  int steps = 0;   // 0 when `epochs` applies
  bool drop_last = true;
  DataConfig data;
  EvaluationConfig evaluation;
  ModelConfig model;
  NormConfig norm;
  std::vector<NormRule> norm_rules;  // norm.layers; of those that match a layer, the first decides
  OptimizerConfig optimizer;
  EmaConfig ema;
  ScheduleConfig schedule;
  LossConfig loss;
  CheckpointConfig checkpoint;
  FaultConfig fault;
  MetricsConfig metrics;
  ProbesConfig probes;
  std::string run_dir;  // default: runs/<name>

  int global_batch() const { return replicas * batch_per_replica; }
  /// Returns true if any layer may have a norm of this kind.
  bool has_norm(NormKind kind) const {
    return norm.kind == kind || std::any_of(norm_rules.begin(), norm_rules.end(),
                                            [&](const NormRule& r) { return r.norm.kind == kind; });
  }
  /// Returns true if any layer may have statistics over the batch, which replicas may share.
  bool norms_over_batch() const {
    return norm.over_batch() || std::any_of(norm_rules.begin(), norm_rules.end(),
                                            [](const NormRule& r) { return r.norm.over_batch(); });
  }
  /// Returns how many samples an evaluation with batch statistics normalizes together: by default
  /// as many as share statistics in training.
  int evaluation_batch() const {
    return evaluation.batch > 0 ? evaluation.batch : batch_per_replica * norm.synced_replicas;
  }
};

}  // namespace syncnorm
