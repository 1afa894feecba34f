// syncnorm report
#include <iostream>

#include "launch/commands.h"
#include "monitoring/run_csv.h"

namespace syncnorm {

int run_report(const CommandLine& line) {
  std::cout << run_csv(line.file) << std::flush;
  return 0;
}

}  // namespace syncnorm
