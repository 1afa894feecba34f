// Texts of ResNets with a norm, and questions to compiled programs.
#pragma once

#include <algorithm>
#include <string>
#include <vector>

#include "tests/engine/program/program_fixture.h"

namespace syncnorm::test {

inline std::string resnet(const std::string& norm, int replicas = 2,
                          const std::string& name = "resnet8") {
  return "replicas: " + std::to_string(replicas) +
         "\nbatch_per_replica: 2\nsteps: 1\nnorm: " + norm + "\nmodel: {architecture: " + name +
         "}\n";
}

template <class Kind>
long count(const Program& program) {
  return std::count_if(
      program.instructions.begin(), program.instructions.end(), [](const Instruction& i) {
        return i.kind == InstructionKind::compute && std::holds_alternative<Kind>(i.op);
      });
}

inline std::vector<ReductionSpec> statistics(const Program& program) {
  std::vector<ReductionSpec> specs;
  for (const ReductionSpec& spec : program.reductions)
    if (spec.kind == ReductionKind::forward_statistics ||
        spec.kind == ReductionKind::backward_statistics)
      specs.push_back(spec);
  return specs;
}

}  // namespace syncnorm::test
