// Maps resampled to another height and width, as PyTorch's interpolate.
#pragma once

#include "kernels/ops/field.h"
#include "kernels/ops/operand.h"
#include "kernels/ops/storage.h"

namespace syncnorm {

/// nearest: output pixel o takes input pixel ⌊o·in/out⌋. bilinear: it lies at (o + ½)·in/out − ½,
/// at least 0, between two input pixels; with `corners`, at o·(in − 1)/(out − 1).
enum class UpsampleMode { nearest, bilinear };

struct UpsampleShape {
  UpsampleMode mode = UpsampleMode::nearest;
  bool corners = false;  // bilinear: align the centers of the corner pixels
  int height = 0, width = 0, channels = 0;
  int out_height = 0, out_width = 0;

  template <class Visit>
  static constexpr void fields(const Visit& field) {
    field("{}", &UpsampleShape::mode);
    field(" corners", &UpsampleShape::corners);
    field(" {}", &UpsampleShape::height);
    field("x{}", &UpsampleShape::width);
    field("x{}", &UpsampleShape::channels);
    field(" -> {}", &UpsampleShape::out_height);
    field("x{}", &UpsampleShape::out_width);
  }
};

/// x [samples, height, width, channels], y [samples, out_height, out_width, channels].
struct UpsampleForward {
  int samples = 1;
  UpsampleShape shape;
  Storage storage = Storage::f32;

  static constexpr const char* kName = "upsample";
  template <class Visit>
  static constexpr void fields(const Visit& field) {
    field("", &UpsampleForward::shape);
  }
  template <class As>
  struct Operands {
    In<As, Stored> x;
    Out<As, Stored> y;
  };
};

/// Every input pixel adds up the gradients of the output pixels that read it, in their order.
struct UpsampleBackward {
  int samples = 1;
  UpsampleShape shape;
  Storage storage = Storage::f32;

  static constexpr const char* kName = "upsample backward";
  template <class Visit>
  static constexpr void fields(const Visit& field) {
    field("", &UpsampleBackward::shape);
  }
  template <class As>
  struct Operands {
    In<As, Stored> dy;
    Out<As, Stored> dx;
  };
};

}  // namespace syncnorm
