// syncnorm report: writes the report page of a run or study, or prints a run's values.
#include <iostream>

#include "base/printable.h"
#include "launch/commands.h"
#include "monitoring/report/page.h"
#include "monitoring/run_csv.h"
#include "monitoring/whole_file.h"

namespace syncnorm {

int run_report(const CommandLine& line, Communicator&) {
  const std::filesystem::path folder = line.file;
  if (line.csv) {
    std::cout << run_csv(folder) << std::flush;
    return 0;
  }
  const std::filesystem::path path = folder / "report.html";
  write_whole(path, report_page(folder), "make the folder writable");
  std::cout << printable(path.string()) << std::endl;
  return 0;
}

}  // namespace syncnorm
