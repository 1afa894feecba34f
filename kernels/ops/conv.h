// Convolutions and pooling.
#pragma once

#include "kernels/ops/field.h"
#include "kernels/ops/operand.h"
#include "kernels/ops/storage.h"

namespace syncnorm {

/// Shape of a 2-D convolution with a square kernel. Filters and channels are divided into `groups`;
/// a filter reads the channels of its group. `pack_samples` is the batch size for which the
/// packed weight layout was chosen; a smaller last batch has the same value and shares the packed
/// weights.
struct ConvShape {
  int height = 0, width = 0, channels = 0;
  int filters = 0, kernel = 0, stride = 1, padding = 0;
  bool bias = false;
  int pack_samples = 1;
  int dilation = 1, groups = 1;

  constexpr int reach() const { return dilation * (kernel - 1) + 1; }  // of the window, pixels
  constexpr int out_height() const { return (height + 2 * padding - reach()) / stride + 1; }
  constexpr int out_width() const { return (width + 2 * padding - reach()) / stride + 1; }
  constexpr int filter_channels() const { return channels / groups; }
  std::size_t weights() const {
    return static_cast<std::size_t>(filters) * filter_channels() * kernel * kernel;
  }
  bool operator==(const ConvShape&) const = default;

  template <class Visit>
  static constexpr void fields(const Visit& field) {
    field("{}", &ConvShape::height);
    field("x{}", &ConvShape::width);
    field("x{}", &ConvShape::channels);
    field(" -> {}", &ConvShape::out_height);
    field("x{}", &ConvShape::out_width);
    field("x{}", &ConvShape::filters);
    field(" k{}", &ConvShape::kernel);
    field(" s{}", &ConvShape::stride);
    field(" p{}", &ConvShape::padding);
    field(" d{}", &ConvShape::dilation, "1");
    field(" g{}", &ConvShape::groups, "1");
    field(" bias", &ConvShape::bias);
    field(" w{}", &ConvShape::pack_samples);
  }
};

/// Packs weights [filters, channels / groups, kernel, kernel]; the device chooses the layout and
/// size (Device::packed_bytes).
struct ConvPack {
  int samples = 1;
  ConvShape shape;
  bool for_dgrad = false;
  Storage storage = Storage::f32;

  static constexpr const char* kName = "conv pack";
  template <class Visit>
  static constexpr void fields(const Visit& field) {
    field("", &ConvPack::shape);
    field(" for dgrad", &ConvPack::for_dgrad);
  }
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
  template <class Visit>
  static constexpr void fields(const Visit& field) {
    field("", &ConvForward::shape);
  }
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
  template <class Visit>
  static constexpr void fields(const Visit& field) {
    field("", &ConvDgrad::shape);
  }
  template <class As>
  struct Operands {
    In<As, Stored> dy;
    In<As, Opaque> packed;
    Out<As, Stored> dx;
  };
};

/// dweight [filters, channels / groups, kernel, kernel].
struct ConvWgrad {
  int samples = 1;
  ConvShape shape;
  Storage storage = Storage::f32;

  static constexpr const char* kName = "conv wgrad";
  template <class Visit>
  static constexpr void fields(const Visit& field) {
    field("", &ConvWgrad::shape);
  }
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

  template <class Visit>
  static constexpr void fields(const Visit& field) {
    field("{}", &PoolShape::kind);
    field(" {}", &PoolShape::height);
    field("x{}", &PoolShape::width);
    field("x{}", &PoolShape::channels);
    field(" -> {}", &PoolShape::out_height);
    field("x{}", &PoolShape::out_width);
    field(" k{}", &PoolShape::kernel_height);
    field("x{}", &PoolShape::kernel_width);
    field(" s{}", &PoolShape::stride);
    field(" p{}", &PoolShape::padding);
  }
};

/// The workspace keeps what the backward pass needs (Device::workspace_bytes); it is absent in
/// evaluation. Average pooling excludes the padding.
struct PoolForward {
  int samples = 1;
  PoolShape shape;
  bool training = true;
  Storage storage = Storage::f32;

  static constexpr const char* kName = "pool";
  template <class Visit>
  static constexpr void fields(const Visit& field) {
    field("", &PoolForward::shape);
    field("", &PoolForward::training, " evaluation");
  }
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
  template <class Visit>
  static constexpr void fields(const Visit& field) {
    field("", &PoolBackward::shape);
  }
  template <class As>
  struct Operands {
    In<As, Stored> dy;
    OptionalIn<As, Opaque> workspace;
    Out<As, Stored> dx;
  };
};

}  // namespace syncnorm
