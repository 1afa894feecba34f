// See agreement.h; everything uses the communicator's gather of texts.
#include "comm/agreement.h"

#include <sstream>

#include <fmt/format.h>
#include <nlohmann/json.hpp>

#include "base/failure.h"

namespace syncnorm {
namespace {

std::vector<std::string> lines_of(const std::string& text) {
  std::vector<std::string> lines;
  std::istringstream in(text);
  for (std::string line; std::getline(in, line);) lines.push_back(line);
  return lines;
}

/// Returns the first line in which two texts differ, as "'a' on rank 0, 'b' on rank r".
std::string difference(const std::string& ours, const std::string& theirs, std::size_t rank) {
  const auto a = lines_of(ours), b = lines_of(theirs);
  const auto line = [](const std::vector<std::string>& lines, std::size_t i) {
    return i < lines.size() ? lines[i] : std::string("(nothing)");
  };
  std::size_t i = 0;
  while (i < a.size() && i < b.size() && a[i] == b[i]) ++i;
  return fmt::format("'{}' on rank 0, '{}' on rank {}", line(a, i), line(b, i), rank);
}

}  // namespace

void agree(Communicator& comm, const std::function<void()>& action) {
  nlohmann::json outcome = nlohmann::json::object();
  try {
    action();
  } catch (...) {  // any exception, since the others wait for this rank's answer
    const Error error = as_error(std::current_exception());
    outcome = {{"code", static_cast<int>(error.exit_code())}, {"message", error.what()}};
  }
  const std::vector<std::string> all =
      comm.all_gather_text(outcome.dump(-1, ' ', false, nlohmann::json::error_handler_t::replace));
  for (std::size_t rank = 0; rank < all.size(); ++rank) {
    const auto theirs = nlohmann::json::parse(all[rank]);
    if (theirs.empty()) continue;
    const auto message = theirs["message"].get<std::string>();
    throw Error(static_cast<ExitCode>(theirs["code"].get<int>()),
                rank == 0 ? message : fmt::format("rank {}: {}", rank, message));
  }
}

void compare_fingerprints(Communicator& comm, const Fingerprint& fingerprint) {
  const std::vector<std::string> all = comm.all_gather_text(
      nlohmann::json(fingerprint).dump(-1, ' ', false, nlohmann::json::error_handler_t::replace));
  const auto first = nlohmann::json::parse(all[0]).get<Fingerprint>();
  for (std::size_t rank = 1; rank < all.size(); ++rank) {
    const auto theirs = nlohmann::json::parse(all[rank]).get<Fingerprint>();
    for (std::size_t i = 0; i < first.size() && i < theirs.size(); ++i)
      if (first[i] != theirs[i])
        throw InputError(
            fmt::format("ranks disagree on the {}: {}; start all ranks with the same program, "
                        "files and options",
                        first[i].first, difference(first[i].second, theirs[i].second, rank)));
  }
}

std::string from_rank_0(Communicator& comm, const std::string& bytes) {
  return comm.all_gather_text(comm.rank() == 0 ? bytes : std::string())[0];
}

}  // namespace syncnorm
