// From a graph to a program: lower, fuse, emit forward and backward, schedule. Placement-dependent
// allocation follows in the executor.
#pragma once

#include <span>
#include <string>

#include "engine/program/program.h"
#include "kernels/device.h"

namespace syncnorm {

/// Compiles `graph` for one step as `options` say. `layout`: places of the parameters in the flat
/// buffer (in floats), for programs that share them with an earlier one; empty: this program
/// decides (training only). Throws InputError where the model cannot be computed.
Program compile_program(const Graph& graph, Device& device, const ProgramOptions& options,
                        std::span<const std::size_t> layout = {});

/// The rank-independent parts as text: what ranks compare before the first step.
std::string program_text(const Program& program);

}  // namespace syncnorm
