// See conv_plan.h.
#include "kernels/cuda/conv_plan.h"

#include <algorithm>
#include <stdexcept>
#include <utility>

namespace syncnorm::cuda {
namespace {

enum Uid : std::int64_t { kX = 1, kW = 2, kY = 3 };

cudnnDataType_t data_type(Storage storage) {
  return storage == Storage::f32 ? CUDNN_DATA_FLOAT : CUDNN_DATA_BFLOAT16;
}

/// Describes a tensor [n, c, h, w] stored as [n, h, w, c].
Descriptor channels_last(Uid uid, Storage storage, std::int64_t n, std::int64_t c, std::int64_t h,
                         std::int64_t w) {
  Descriptor tensor(CUDNN_BACKEND_TENSOR_DESCRIPTOR);
  const cudnnDataType_t type = data_type(storage);
  tensor.set(CUDNN_ATTR_TENSOR_DATA_TYPE, CUDNN_TYPE_DATA_TYPE, 1, &type);
  tensor.set(CUDNN_ATTR_TENSOR_DIMENSIONS, std::vector<std::int64_t>{n, c, h, w});
  tensor.set(CUDNN_ATTR_TENSOR_STRIDES, std::vector<std::int64_t>{h * w * c, 1, w * c, c});
  tensor.set(CUDNN_ATTR_TENSOR_UNIQUE_ID, static_cast<std::int64_t>(uid));
  // The tensors of several replicas are contiguous, so their size determines their alignment.
  const auto element = static_cast<std::int64_t>(storage_bytes(storage));
  const bool aligned = n * c * h * w * element % 16 == 0;
  tensor.set(CUDNN_ATTR_TENSOR_BYTE_ALIGNMENT, aligned ? std::int64_t{16} : element);
  tensor.finalize("a tensor");
  return tensor;
}

Descriptor convolution(const ConvShape& s) {
  Descriptor conv(CUDNN_BACKEND_CONVOLUTION_DESCRIPTOR);
  const cudnnDataType_t type = CUDNN_DATA_FLOAT;
  const cudnnConvolutionMode_t mode = CUDNN_CROSS_CORRELATION;
  conv.set(CUDNN_ATTR_CONVOLUTION_COMP_TYPE, CUDNN_TYPE_DATA_TYPE, 1, &type);
  conv.set(CUDNN_ATTR_CONVOLUTION_CONV_MODE, CUDNN_TYPE_CONVOLUTION_MODE, 1, &mode);
  conv.set(CUDNN_ATTR_CONVOLUTION_SPATIAL_DIMS, std::int64_t{2});
  const auto both = [](int v) { return std::vector<std::int64_t>{v, v}; };
  conv.set(CUDNN_ATTR_CONVOLUTION_DILATIONS, both(s.dilation));
  conv.set(CUDNN_ATTR_CONVOLUTION_FILTER_STRIDES, both(s.stride));
  conv.set(CUDNN_ATTR_CONVOLUTION_PRE_PADDINGS, both(s.padding));
  conv.set(CUDNN_ATTR_CONVOLUTION_POST_PADDINGS, both(s.padding));
  conv.finalize("a convolution");
  return conv;
}

/// cuDNN's names for a pass's operation and the attributes of that operation.
struct Names {
  cudnnBackendDescriptorType_t operation;
  cudnnBackendAttributeName_t x, w, y, conv, alpha, beta;
};

Names names_of(ConvPass pass) {
  switch (pass) {
    case ConvPass::forward:
      break;
    case ConvPass::dgrad:
      return {CUDNN_BACKEND_OPERATION_CONVOLUTION_BACKWARD_DATA_DESCRIPTOR,
              CUDNN_ATTR_OPERATION_CONVOLUTION_BWD_DATA_DX,
              CUDNN_ATTR_OPERATION_CONVOLUTION_BWD_DATA_W,
              CUDNN_ATTR_OPERATION_CONVOLUTION_BWD_DATA_DY,
              CUDNN_ATTR_OPERATION_CONVOLUTION_BWD_DATA_CONV_DESC,
              CUDNN_ATTR_OPERATION_CONVOLUTION_BWD_DATA_ALPHA,
              CUDNN_ATTR_OPERATION_CONVOLUTION_BWD_DATA_BETA};
    case ConvPass::wgrad:
      return {CUDNN_BACKEND_OPERATION_CONVOLUTION_BACKWARD_FILTER_DESCRIPTOR,
              CUDNN_ATTR_OPERATION_CONVOLUTION_BWD_FILTER_X,
              CUDNN_ATTR_OPERATION_CONVOLUTION_BWD_FILTER_DW,
              CUDNN_ATTR_OPERATION_CONVOLUTION_BWD_FILTER_DY,
              CUDNN_ATTR_OPERATION_CONVOLUTION_BWD_FILTER_CONV_DESC,
              CUDNN_ATTR_OPERATION_CONVOLUTION_BWD_FILTER_ALPHA,
              CUDNN_ATTR_OPERATION_CONVOLUTION_BWD_FILTER_BETA};
  }
  return {CUDNN_BACKEND_OPERATION_CONVOLUTION_FORWARD_DESCRIPTOR,
          CUDNN_ATTR_OPERATION_CONVOLUTION_FORWARD_X,
          CUDNN_ATTR_OPERATION_CONVOLUTION_FORWARD_W,
          CUDNN_ATTR_OPERATION_CONVOLUTION_FORWARD_Y,
          CUDNN_ATTR_OPERATION_CONVOLUTION_FORWARD_CONV_DESC,
          CUDNN_ATTR_OPERATION_CONVOLUTION_FORWARD_ALPHA,
          CUDNN_ATTR_OPERATION_CONVOLUTION_FORWARD_BETA};
}

/// Returns true when an engine computes with the required precision and deterministically.
bool is_exact(const std::vector<cudnnBackendNumericalNote_t>& notes, Storage storage) {
  return std::none_of(notes.begin(), notes.end(), [&](cudnnBackendNumericalNote_t note) {
    switch (note) {
      case CUDNN_NUMERICAL_NOTE_TENSOR_CORE:  // with f32 data they compute in TF32
        return storage == Storage::f32;
      case CUDNN_NUMERICAL_NOTE_STRICT_NAN_PROP:
        return false;
      default:
        return true;
    }
  });
}

Descriptor engine_of(const Descriptor& config) {
  Descriptor engine(CUDNN_BACKEND_ENGINE_DESCRIPTOR);
  cudnnBackendDescriptor_t handle = engine.get();
  std::int64_t count = 0;
  check(cudnnBackendGetAttribute(config.get(), CUDNN_ATTR_ENGINECFG_ENGINE,
                                 CUDNN_TYPE_BACKEND_DESCRIPTOR, 1, &count, &handle),
        "could not ask for an engine");
  return engine;
}

std::vector<cudnnBackendNumericalNote_t> numerical_notes(const Descriptor& config) {
  const Descriptor engine = engine_of(config);
  cudnnBackendDescriptor_t handle = engine.get();
  std::int64_t count = 0;
  std::vector<cudnnBackendNumericalNote_t> notes(CUDNN_NUMERICAL_NOTE_TYPE_COUNT);
  check(
      cudnnBackendGetAttribute(handle, CUDNN_ATTR_ENGINE_NUMERICAL_NOTE, CUDNN_TYPE_NUMERICAL_NOTE,
                               CUDNN_NUMERICAL_NOTE_TYPE_COUNT, &count, notes.data()),
      "could not ask for an engine's precision");
  notes.resize(static_cast<std::size_t>(count));
  return notes;
}

/// Returns the descriptors of `type` that an attribute holds, up to `most`.
std::vector<Descriptor> descriptors(const Descriptor& of, cudnnBackendAttributeName_t attribute,
                                    cudnnBackendDescriptorType_t type, std::int64_t most) {
  std::vector<Descriptor> held;
  std::vector<cudnnBackendDescriptor_t> handles;
  for (std::int64_t i = 0; i < most; ++i) {
    held.emplace_back(type);
    handles.push_back(held.back().get());
  }
  std::int64_t count = 0;
  if (most > 0)
    check(cudnnBackendGetAttribute(of.get(), attribute, CUDNN_TYPE_BACKEND_DESCRIPTOR, most, &count,
                                   handles.data()),
          "could not list what a descriptor holds");
  held.resize(static_cast<std::size_t>(count));
  return held;
}

/// The engines that cuDNN proposes for a graph, best first; none where this mode of its heuristics
/// cannot say, as mode A for some types.
std::vector<Descriptor> proposals(const Descriptor& graph, cudnnBackendHeurMode_t mode) {
  Descriptor heuristics(CUDNN_BACKEND_ENGINEHEUR_DESCRIPTOR);
  heuristics.set(CUDNN_ATTR_ENGINEHEUR_OPERATION_GRAPH, graph);
  heuristics.set(CUDNN_ATTR_ENGINEHEUR_MODE, CUDNN_TYPE_HEUR_MODE, 1, &mode);
  if (cudnnBackendFinalize(heuristics.get()) != CUDNN_STATUS_SUCCESS) return {};
  std::int64_t count = 0;
  check(cudnnBackendGetAttribute(heuristics.get(), CUDNN_ATTR_ENGINEHEUR_RESULTS,
                                 CUDNN_TYPE_BACKEND_DESCRIPTOR, 0, &count, nullptr),
        "could not count the engines");
  return descriptors(heuristics, CUDNN_ATTR_ENGINEHEUR_RESULTS, CUDNN_BACKEND_ENGINECFG_DESCRIPTOR,
                     count);
}

std::int64_t engine_index(const Descriptor& config) {
  const Descriptor engine = engine_of(config);
  std::int64_t index = -1, count = 0;
  check(cudnnBackendGetAttribute(engine.get(), CUDNN_ATTR_ENGINE_GLOBAL_INDEX, CUDNN_TYPE_INT64, 1,
                                 &count, &index),
        "could not ask for an engine's number");
  return index;
}

/// The choices that make up an engine's configuration, as new descriptors.
std::vector<Descriptor> settings(const Descriptor& config) {
  std::vector<Descriptor> made;
  // The number of choices cannot be asked for without room for them.
  for (const Descriptor& knob :
       descriptors(config, CUDNN_ATTR_ENGINECFG_KNOB_CHOICES, CUDNN_BACKEND_KNOB_CHOICE_DESCRIPTOR,
                   CUDNN_KNOB_TYPE_COUNTS)) {
    cudnnBackendKnobType_t type{};
    std::int64_t value = 0, count = 0;
    check(cudnnBackendGetAttribute(knob.get(), CUDNN_ATTR_KNOB_CHOICE_KNOB_TYPE,
                                   CUDNN_TYPE_KNOB_TYPE, 1, &count, &type),
          "could not ask for an engine's setting");
    check(cudnnBackendGetAttribute(knob.get(), CUDNN_ATTR_KNOB_CHOICE_KNOB_VALUE, CUDNN_TYPE_INT64,
                                   1, &count, &value),
          "could not ask for an engine's setting");
    Descriptor& copy = made.emplace_back(CUDNN_BACKEND_KNOB_CHOICE_DESCRIPTOR);
    copy.set(CUDNN_ATTR_KNOB_CHOICE_KNOB_TYPE, CUDNN_TYPE_KNOB_TYPE, 1, &type);
    copy.set(CUDNN_ATTR_KNOB_CHOICE_KNOB_VALUE, value);
    copy.finalize("an engine's setting");
  }
  return made;
}

}  // namespace

Descriptor::Descriptor(cudnnBackendDescriptorType_t type) {
  check(cudnnBackendCreateDescriptor(type, &handle_), "could not make a descriptor");
}

Descriptor::~Descriptor() {
  if (handle_ != nullptr) cudnnBackendDestroyDescriptor(handle_);
}

void Descriptor::set(cudnnBackendAttributeName_t name, cudnnBackendAttributeType_t type,
                     std::int64_t count, const void* values) {
  check(cudnnBackendSetAttribute(handle_, name, type, count, values),
        "a descriptor refuses an attribute");
}
void Descriptor::set(cudnnBackendAttributeName_t name, const Descriptor& value) {
  set(name, CUDNN_TYPE_BACKEND_DESCRIPTOR, 1, &value.handle_);
}
void Descriptor::set(cudnnBackendAttributeName_t name, std::int64_t value) {
  set(name, CUDNN_TYPE_INT64, 1, &value);
}
void Descriptor::set(cudnnBackendAttributeName_t name, const std::vector<std::int64_t>& values) {
  set(name, CUDNN_TYPE_INT64, static_cast<std::int64_t>(values.size()), values.data());
}
void Descriptor::finalize(const char* what) { check(cudnnBackendFinalize(handle_), what); }

ConvPlan::ConvPlan(CudaLibraries& libraries, ConvPass pass, const ConvShape& shape, int samples,
                   Storage storage, Storage weight_storage)
    : ConvPlan(libraries, {pass, shape, storage, weight_storage}) {
  const Descriptor operations = graph(samples);
  for (const cudnnBackendHeurMode_t mode : {CUDNN_HEUR_MODE_A, CUDNN_HEUR_MODE_FALLBACK})
    for (Descriptor& config : proposals(operations, mode))
      if (is_exact(numerical_notes(config), storage) && finalize(std::move(config))) return;
  throw NoEngineError(
      "cuDNN has no deterministic algorithm of this precision for this convolution");
}

std::optional<ConvPlan> ConvPlan::for_samples(int samples) const {
  const Descriptor operations = graph(samples);
  Descriptor engine(CUDNN_BACKEND_ENGINE_DESCRIPTOR);
  engine.set(CUDNN_ATTR_ENGINE_OPERATION_GRAPH, operations);
  engine.set(CUDNN_ATTR_ENGINE_GLOBAL_INDEX, engine_index(config_));
  if (cudnnBackendFinalize(engine.get()) != CUDNN_STATUS_SUCCESS) return std::nullopt;
  Descriptor config(CUDNN_BACKEND_ENGINECFG_DESCRIPTOR);
  config.set(CUDNN_ATTR_ENGINECFG_ENGINE, engine);
  const std::vector<Descriptor> knobs = settings(config_);
  std::vector<cudnnBackendDescriptor_t> handles;
  for (const Descriptor& knob : knobs) handles.push_back(knob.get());
  if (!handles.empty())
    config.set(CUDNN_ATTR_ENGINECFG_KNOB_CHOICES, CUDNN_TYPE_BACKEND_DESCRIPTOR,
               static_cast<std::int64_t>(handles.size()), handles.data());
  if (cudnnBackendFinalize(config.get()) != CUDNN_STATUS_SUCCESS) return std::nullopt;
  ConvPlan plan(*libraries_, problem_);
  if (!plan.finalize(std::move(config))) return std::nullopt;
  return plan;
}

Descriptor ConvPlan::graph(int samples) const {
  const auto& [pass, s, storage, weight_storage] = problem_;
  const Descriptor x = channels_last(kX, storage, samples, s.channels, s.height, s.width);
  const Descriptor w = channels_last(kW, pass == ConvPass::wgrad ? weight_storage : storage,
                                     s.filters, s.filter_channels(), s.kernel, s.kernel);
  const Descriptor y =
      channels_last(kY, storage, samples, s.filters, s.out_height(), s.out_width());
  const Descriptor conv = convolution(s);
  const Names names = names_of(pass);
  Descriptor operation(names.operation);
  operation.set(names.x, x);
  operation.set(names.w, w);
  operation.set(names.y, y);
  operation.set(names.conv, conv);
  const float one = 1.0f, zero = 0.0f;
  operation.set(names.alpha, CUDNN_TYPE_FLOAT, 1, &one);
  operation.set(names.beta, CUDNN_TYPE_FLOAT, 1, &zero);
  operation.finalize("an operation");
  Descriptor operations(CUDNN_BACKEND_OPERATIONGRAPH_DESCRIPTOR);
  operations.set(CUDNN_ATTR_OPERATIONGRAPH_HANDLE, CUDNN_TYPE_HANDLE, 1, &libraries_->cudnn);
  operations.set(CUDNN_ATTR_OPERATIONGRAPH_OPS, operation);
  operations.finalize("a graph");
  return operations;
}

bool ConvPlan::finalize(Descriptor config) {
  Descriptor plan(CUDNN_BACKEND_EXECUTION_PLAN_DESCRIPTOR);
  plan.set(CUDNN_ATTR_EXECUTION_PLAN_HANDLE, CUDNN_TYPE_HANDLE, 1, &libraries_->cudnn);
  plan.set(CUDNN_ATTR_EXECUTION_PLAN_ENGINE_CONFIG, config);
  // A proposed engine may turn out not to run on this GPU; then the next one is tried.
  if (cudnnBackendFinalize(plan.get()) != CUDNN_STATUS_SUCCESS) return false;
  std::int64_t bytes = 0, count = 0;
  check(cudnnBackendGetAttribute(plan.get(), CUDNN_ATTR_EXECUTION_PLAN_WORKSPACE_SIZE,
                                 CUDNN_TYPE_INT64, 1, &count, &bytes),
        "could not ask for a workspace");
  if (static_cast<std::size_t>(bytes) > kWorkspaceLimit) return false;
  workspace_bytes_ = static_cast<std::size_t>(bytes);
  config_ = std::move(config);
  plan_ = std::move(plan);
  return true;
}

std::string ConvPlan::engine() const {
  return "cuDNN engine " + std::to_string(engine_index(config_));
}

void ConvPlan::run(const ConvPointers& pointers, void* workspace) {
  // cuDNN takes inputs, too, as non-const pointers.
  std::array<void*, 4> wanted = {const_cast<void*>(pointers.x), const_cast<void*>(pointers.w),
                                 const_cast<void*>(pointers.y), workspace};
  if (pack_.get() == nullptr || wanted != packed_) {
    Descriptor pack(CUDNN_BACKEND_VARIANT_PACK_DESCRIPTOR);
    pack.set(CUDNN_ATTR_VARIANT_PACK_UNIQUE_IDS, std::vector<std::int64_t>{kX, kW, kY});
    pack.set(CUDNN_ATTR_VARIANT_PACK_DATA_POINTERS, CUDNN_TYPE_VOID_PTR, 3, wanted.data());
    pack.set(CUDNN_ATTR_VARIANT_PACK_WORKSPACE, CUDNN_TYPE_VOID_PTR, 1, &wanted[3]);
    pack.finalize("a set of pointers");
    pack_ = std::move(pack);
    packed_ = wanted;
  }
  check(cudnnBackendExecute(libraries_->cudnn, plan_.get(), pack_.get()),
        "could not run a convolution");
}

}  // namespace syncnorm::cuda
