// What runs left behind, and what asks for metrics.
#include <string>

#include "comm/flight_report.h"
#include "monitoring/basic_auth.h"
#include "monitoring/report/page.h"
#include "monitoring/run_csv.h"
#include "monitoring/run_history.h"
#include "monitoring/run_log.h"
#include "tests/fuzz/scratch.h"
#include "tests/fuzz/targets.h"

namespace syncnorm::fuzz {
namespace {

bool report(const std::filesystem::path& folder) {
  std::string page;
  if (!answered([&] { page = report_page(folder); })) return false;
  promise(page.ends_with("</html>\n"), "a report is a page");
  return true;
}

}  // namespace

bool run_log(std::string_view bytes) {
  static const Scratch folder;
  folder.write("metrics.jsonl", bytes);
  read_run_history(folder.path());
  promise(run_csv(folder.path()).starts_with("event,step,epoch,split"), "a table has its columns");
  return report(folder.path());
}

bool resumed_log(std::string_view bytes) {
  static const Scratch folder;
  folder.write("metrics.jsonl", bytes);
  StartEvent event;
  event.run_dir = folder.path().string();
  event.first_step = 3;
  RunLog(nullptr).on_start(event);
  promise(read_run_history(folder.path()).restarts >= 1.0, "a resumed log says so");
  return true;
}

bool run_summary(std::string_view bytes) {
  static const Scratch folder;
  folder.write("metrics.jsonl", R"({"event":"start","model":"mlp","time":1.0,"total_steps":4})");
  folder.write("summary.json", bytes);
  return report(folder.path());
}

bool study_list(std::string_view bytes) {
  static const Scratch folder;
  static const bool made = std::filesystem::create_directory(folder.path() / "seed=1");
  promise(made, "there is a folder");
  folder.write("seed=1/metrics.jsonl", R"({"event":"start","model":"mlp","time":1.0})");
  folder.write("study.json", bytes);
  return report(folder.path());
}

bool flight(std::string_view bytes) {
  static const Scratch folder;
  folder.write("rank-0.jsonl", bytes);
  return answered([&] {
    const std::vector<FlightRecord> records = read_flight(folder.path());
    promise(!records.empty(), "no records are an error");
    promise(!judge_flight(records).text.empty(), "records are judged");
    for (const FlightRecord& record : records)
      for (const FlightEvent& event : record.events)
        promise(!flight_text(event).empty(), "an event has a text");
  });
}

bool authorization(std::string_view bytes) {
  static const BasicAuth auth("user", "secret");
  const std::string header(bytes);
  const std::string sent = header.c_str();  // as the server hands it on
  if (!auth.admits(sent.c_str())) return false;
  promise(sent.size() == 22 && sent.ends_with(" " + base64("user:secret")),
          "only the right password lets in");
  return true;
}

}  // namespace syncnorm::fuzz
