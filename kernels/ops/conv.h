// Convolutions and pooling.
#pragma once

#include "kernels/ops/field.h"
#include "kernels/ops/operand.h"
#include "kernels/ops/storage.h"

namespace syncnorm {

/// Shape of a 2-D convolution with square kernel. `pack_samples` is the batch for which the packed
/// weight layout was chosen, so that a smaller last batch shares the packed weights.
struct ConvShape {
  int height = 0, width = 0, channels = 0;
  int filters = 0, kernel = 0, stride = 1, padding = 0;
  bool bias = false;
  int pack_samples = 1;

  int out_height() const { return (height + 2 * padding - kernel) / stride + 1; }
  int out_width() const { return (width + 2 * padding - kernel) / stride + 1; }
  std::size_t weights() const {
    return static_cast<std::size_t>(filters) * channels * kernel * kernel;
  }
  bool operator==(const ConvShape&) const = default;

  static constexpr std::tuple kFields = {
      Field{"{}", &ConvShape::height},        Field{"x{}", &ConvShape::width},
      Field{"x{}", &ConvShape::channels},     Field{" -> {}", &ConvShape::out_height},
      Field{"x{}", &ConvShape::out_width},    Field{"x{}", &ConvShape::filters},
      Field{" k{}", &ConvShape::kernel},      Field{" s{}", &ConvShape::stride},
      Field{" p{}", &ConvShape::padding},     Field{" bias", &ConvShape::bias},
      Field{" w{}", &ConvShape::pack_samples}};
};

/// Packs weights [filters, channels, kernel, kernel] in layout and size of the device's choosing
/// (Device::packed_bytes).
struct ConvPack {
  int samples = 1;
  ConvShape shape;
  bool for_dgrad = false;
  Storage storage = Storage::f32;

  static constexpr const char* kName = "conv pack";
  static constexpr std::tuple kFields = {Field{"", &ConvPack::shape},
                                         Field{" for dgrad", &ConvPack::for_dgrad}};
  template <class As>
  struct Operands {
    In<As, float> weight;
    Out<As, Opaque> packed;
  };
};

struct ConvForward {
  int samples = 1;
  ConvShape shape;
  Storage storage = Storage::f32;

  static constexpr const char* kName = "conv";
  static constexpr std::tuple kFields = {Field{"", &ConvForward::shape}};
  template <class As>
  struct Operands {
    In<As, Stored> x;
    In<As, Opaque> packed;
    OptionalIn<As, float> bias;
    Out<As, Stored> y;
  };
};

struct ConvDgrad {
  int samples = 1;
  ConvShape shape;
  Storage storage = Storage::f32;

  static constexpr const char* kName = "conv dgrad";
  static constexpr std::tuple kFields = {Field{"", &ConvDgrad::shape}};
  template <class As>
  struct Operands {
    In<As, Stored> dy;
    In<As, Opaque> packed;
    Out<As, Stored> dx;
  };
};

/// dweight [filters, channels, kernel, kernel].
struct ConvWgrad {
  int samples = 1;
  ConvShape shape;
  Storage storage = Storage::f32;

  static constexpr const char* kName = "conv wgrad";
  static constexpr std::tuple kFields = {Field{"", &ConvWgrad::shape}};
  template <class As>
  struct Operands {
    In<As, Stored> x, dy;
    Out<As, float> dweight;
    OptionalOut<As, float> dbias;
  };
};

enum class PoolKind { max, average };

struct PoolShape {
  PoolKind kind = PoolKind::max;
  int height = 0, width = 0, channels = 0;
  int kernel_height = 0, kernel_width = 0, stride = 1, padding = 0;
  int out_height() const { return (height + 2 * padding - kernel_height) / stride + 1; }
  int out_width() const { return (width + 2 * padding - kernel_width) / stride + 1; }

  static constexpr std::tuple kFields = {Field{"{}", &PoolShape::kind},
                                         Field{" {}", &PoolShape::height},
                                         Field{"x{}", &PoolShape::width},
                                         Field{"x{}", &PoolShape::channels},
                                         Field{" -> {}", &PoolShape::out_height},
                                         Field{"x{}", &PoolShape::out_width},
                                         Field{" k{}", &PoolShape::kernel_height},
                                         Field{"x{}", &PoolShape::kernel_width},
                                         Field{" s{}", &PoolShape::stride},
                                         Field{" p{}", &PoolShape::padding}};
};

/// The workspace is what the backward pass needs (Device::workspace_bytes), absent in evaluation.
/// Average pooling leaves the padding out.
struct PoolForward {
  int samples = 1;
  PoolShape shape;
  bool training = true;
  Storage storage = Storage::f32;

  static constexpr const char* kName = "pool";
  static constexpr std::tuple kFields = {Field{"", &PoolForward::shape},
                                         Field{"", &PoolForward::training, " evaluation"}};
  template <class As>
  struct Operands {
    In<As, Stored> x;
    Out<As, Stored> y;
    OptionalOut<As, Opaque> workspace;
  };
};

struct PoolBackward {
  int samples = 1;
  PoolShape shape;
  Storage storage = Storage::f32;

  static constexpr const char* kName = "pool backward";
  static constexpr std::tuple kFields = {Field{"", &PoolBackward::shape}};
  template <class As>
  struct Operands {
    In<As, Stored> dy;
    OptionalIn<As, Opaque> workspace;
    Out<As, Stored> dx;
  };
};

}  // namespace syncnorm
