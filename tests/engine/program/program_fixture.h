// A small training set-up for tests of programs: a model, its executor, a made batch. On one rank,
// or on those of a communicator.
#pragma once

#include <memory>
#include <string>
#include <vector>

#include "base/philox.h"
#include "engine/config/load.h"
#include "engine/model/initialize.h"
#include "engine/model/zoo.h"
#include "engine/program/compile.h"
#include "engine/program/executor.h"

namespace syncnorm::test {

struct Workbench {
  LoadedExperiment loaded;
  Shape image;
  int classes;
  std::unique_ptr<Device> device;
  std::unique_ptr<Communicator> self = make_self_communicator();
  Communicator* comm = self.get();
  Placement placement;
  Graph graph;
  Memory memory;
  std::unique_ptr<StatisticsGroups> groups;
  std::unique_ptr<Executor> executor;
  std::vector<float> images;
  std::vector<std::int32_t> labels;
  std::vector<std::uint32_t> ids;
  std::vector<float> gradients;  // of the last run
  StepState state;

  explicit Workbench(const std::string& yaml, Shape shape = {8, 8, 3}, int class_count = 5,
                     std::vector<int> replica_samples = {}, Communicator* world = nullptr,
                     std::unique_ptr<Device> other_device = nullptr)
      : loaded(parse_experiment_text(yaml, "test.yaml")),
        image(shape),
        classes(class_count),
        device(other_device != nullptr ? std::move(other_device) : make_cpu_device()) {
    const Experiment& e = loaded.experiment;
    if (world != nullptr) comm = world;
    placement = {e.replicas, comm->size()};
    graph = build_model(e, image, classes);
    ProgramOptions options;
    options.replicas = e.replicas;
    options.batch_per_replica = e.batch_per_replica;
    options.global_samples = e.global_batch();
    options.replica_samples = replica_samples;
    if (!replica_samples.empty()) {
      options.global_samples = 0;
      for (const int n : replica_samples) options.global_samples += n;
    }
    options.synced_replicas = e.norm.synced_replicas;
    options.label_smoothing = e.loss.label_smoothing;
    options.merge_replicas = e.reduction == ReductionMode::fastest;
    options.storage = activation_storage(e.precision);
    device->use_storage(options.storage, e.precision == Precision::bf16_emulated);
    if (e.norms_over_batch() && e.norm.synced_replicas > 1)
      groups = std::make_unique<StatisticsGroups>(*comm, placement, e.norm.synced_replicas);
    executor = std::make_unique<Executor>(
        compile_program(graph, *device, options), *device, *comm, placement, groups.get(),
        options.merge_replicas ? ReductionAlgorithm::engine : ReductionAlgorithm::tree, memory);
    for (std::size_t p = 0; p < graph.parameters.size(); ++p) {
      initialize_parameter(graph, static_cast<int>(p), e.model, e.seed, parameter(p));
      // Away from the symmetric start, so that no gradient is zero by accident.
      RandomStream random(7, RandomPurpose::initialization, 1, p);
      for (float& v : parameter(p)) v += 0.1f * random.normal();
    }
    RandomStream random(9, RandomPurpose::synthetic_data, 0, 0);
    images.resize(static_cast<std::size_t>(image.size() * e.global_batch()));
    for (float& v : images) v = random.normal();
    for (int i = 0; i < e.global_batch(); ++i) {
      labels.push_back(
          static_cast<std::int32_t>(random.below(static_cast<std::uint64_t>(classes))));
      ids.push_back(static_cast<std::uint32_t>(i));
    }
  }

  std::span<float> parameter(std::size_t p) {
    return memory.parameters.host<float>().subspan(executor->program().parameter_offset[p],
                                                   graph.parameters[p].count());
  }
  std::span<const float> gradient(std::size_t p) {
    return std::span(gradients).subspan(executor->program().parameter_offset[p],
                                        graph.parameters[p].count());
  }
  /// Mean loss of one pass; gradients are in place afterwards.
  double run() {
    state.update_running = false;
    return step();
  }
  /// Makes an update's passes, so that norms remember statistics, then changes what they remember.
  void make_history() {
    state.update_running = true;
    step();
    ++state.step;
    memory.running.pull();
    for (float& v : memory.running.host<float>()) v = 1.2f * v + 0.1f;
    memory.running.push();
  }
  /// Does what run() does, and running statistics follow when `state` says so.
  double step() {
    memory.parameters.push();
    // Every rank has made the whole batch and trains on its own part.
    const auto first = static_cast<std::size_t>(placement.block(comm->rank()).begin *
                                                loaded.experiment.batch_per_replica);
    executor->run(state, {images.data() + first * static_cast<std::size_t>(image.size()),
                          labels.data() + first, ids.data() + first});
    gradients.resize(executor->program().parameter_floats);
    device->copy(gradients.data(), memory.gradients.data(), gradients.size() * sizeof(float));
    device->synchronize();
    return executor->loss()[0] / executor->program().options.global_samples;
  }
};

/// Every kind of smooth layer, around one residual block.
inline std::string every_layer_yaml(const std::string& norm, const std::string& more = "") {
  return "replicas: 2\nbatch_per_replica: 3\nsteps: 1\nnorm: " + norm + "\n" + more +
         "model:\n"
         "  layers:\n"
         "    - {type: conv, out: 6, kernel: 3, padding: 1, bias: true}\n"
         "    - norm\n"
         "    - {type: tanh, name: trunk}\n"
         "    - {type: conv, out: 6, kernel: 3, padding: 1, bias: false}\n"
         "    - norm\n"
         "    - {type: add, from: trunk}\n"
         "    - elu\n"
         "    - {type: average_pool, kernel: 2}\n"
         "    - {type: conv, out: 8, kernel: 1, stride: 2, bias: false}\n"
         "    - norm\n"
         "    - gelu\n"
         "    - {type: average_pool, kernel: 2, stride: 1, padding: 1}\n"
         "    - {type: dropout, p: 0.25}\n"
         "    - flatten\n"
         "    - {type: linear, out: 12}\n"
         "    - sigmoid\n"
         "    - {type: linear, out: 9}\n"
         "    - selu\n"
         "    - {type: linear, out: 5}\n";
}

/// The layers of networks that enlarge their maps again, all smooth: transposed convolutions,
/// resampling, joined channels and products.
inline std::string enlarging_yaml(const std::string& norm, const std::string& more = "") {
  return "replicas: 2\nbatch_per_replica: 3\nsteps: 1\nnorm: " + norm + "\n" + more +
         "model:\n"
         "  layers:\n"
         "    - {type: conv, out: 6, kernel: 3, stride: 2, padding: 1, bias: false, name: down}\n"
         "    - norm\n"
         "    - {type: silu, name: small}\n"
         "    - {type: conv_transpose, out: 4, kernel: 2, stride: 2}\n"
         "    - {type: tanh, name: up}\n"
         "    - {type: conv, out: 3, kernel: 3, padding: 1, input: input, name: side}\n"
         "    - {type: upsample, scale: 2, input: small, name: near}\n"
         "    - {type: concat, input: side, from: [up, near]}\n"
         "    - {type: conv, out: 6, kernel: 3, stride: 2, padding: 1, bias: false}\n"
         "    - norm\n"
         "    - {type: silu, name: body}\n"
         "    - global_pool\n"
         "    - {type: conv, out: 6, kernel: 1}\n"
         "    - {type: sigmoid, name: squeezed}\n"
         "    - {type: multiply, input: body, from: squeezed, name: excited}\n"
         "    - {type: conv, out: 1, kernel: 1}\n"
         "    - {type: sigmoid, name: places}\n"
         "    - {type: multiply, from: excited, name: attended}\n"
         "    - {type: conv, out: 4, kernel: 1, name: twin}\n"
         "    - {type: conv_transpose, out: 4, kernel: 3, stride: 2, padding: 1, output_padding: "
         "1, "
         "groups: 2, bias: false}\n"
         "    - {type: upsample, to: small, mode: bilinear, align_corners: true}\n"
         "    - {type: multiply, from: twin}\n"
         "    - {type: upsample, to: input, mode: bilinear}\n"
         "    - flatten\n"
         "    - {type: linear, out: 5}\n";
}

/// Two branches that meet in a sum, each with norms of its own.
inline constexpr const char* kTwoBranches =
    "replicas: 2\nbatch_per_replica: 2\nsteps: 1\nnorm: syncbn\n"
    "model:\n  layers:\n"
    "    - {type: conv, out: 4, kernel: 3, name: a1}\n"
    "    - {type: norm, name: an1}\n"
    "    - {type: tanh, name: at}\n"
    "    - {type: conv, out: 4, kernel: 1, name: a2}\n"
    "    - {type: norm, name: an2}\n"
    "    - {type: tanh, name: a}\n"
    "    - {type: conv, out: 4, kernel: 3, name: b1, input: input}\n"
    "    - {type: norm, name: bn1}\n"
    "    - {type: tanh, name: bt}\n"
    "    - {type: conv, out: 4, kernel: 1, name: b2}\n"
    "    - {type: norm, name: bn2}\n"
    "    - {type: add, from: a, name: sum}\n"
    "    - flatten\n"
    "    - {type: linear, out: 5}\n";

}  // namespace syncnorm::test
