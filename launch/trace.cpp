// syncnorm trace: prints a worked example of batch normalization.
#include "engine/study/trace.h"

#include <iostream>

#include "base/printable.h"
#include "launch/commands.h"

namespace syncnorm {

int run_trace(const CommandLine& line, Communicator&) {
  const TraceExample example = line.file.empty() ? worked_example() : load_trace(line.file);
  std::cout << printable(trace_text(example, line.digits)) << std::flush;
  return 0;
}

}  // namespace syncnorm
