// Compiles a graph to a program: lowers, fuses, emits the forward and backward pass, schedules. The
// executor then allocates memory, which depends on the placement.
#pragma once

#include <span>
#include <string>
#include <vector>

#include "engine/program/program.h"
#include "kernels/device.h"

namespace syncnorm {

/// Compiles `graph` for one step. `layout` is the offset of each parameter in the flat buffer, in
/// floats, for programs that share the buffer with an earlier one; if empty, this program decides
/// (training only). Throws InputError when the model cannot be computed.
Program compile_program(const Graph& graph, Device& device, const ProgramOptions& options,
                        std::span<const std::size_t> layout = {});

/// Returns the rank-independent parts as text, which ranks compare before the first step.
std::string program_text(const Program& program);

/// Returns the offset of every parameter, in floats, one behind another: a layout for programs that
/// only evaluate.
std::vector<std::size_t> consecutive_layout(const Graph& graph);

}  // namespace syncnorm
