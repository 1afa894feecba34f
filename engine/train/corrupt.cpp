// See corrupt.h.
#include "engine/train/corrupt.h"

#include <fmt/format.h>

#include <nlohmann/json.hpp>

#include "base/printable.h"

namespace syncnorm {
namespace {

/// Returns JSON that can be sent and logged: bytes of file names that are not UTF-8 are replaced.
std::string json_text(const nlohmann::json& json) {
  return json.dump(-1, ' ', false, nlohmann::json::error_handler_t::replace);
}

}  // namespace

void CorruptImages::note(const std::vector<CorruptImage>& images) {
  for (const CorruptImage& image : images) {
    if (image.unreadable || !found_.emplace(image.path, image.reason).second) continue;
    if (policy_ == CorruptPolicy::skip)
      fmt::print(stderr, "syncnorm: skipped {}: {}\n", printable_name(image.path),
                 printable_name(image.reason));
  }
}

std::vector<CorruptImage> CorruptImages::on_all_ranks(Communicator& comm) const {
  std::map<std::string, std::string> all;
  for (const std::string& text : comm.all_gather_text(json_text(found_)))
    all.merge(nlohmann::json::parse(text).get<std::map<std::string, std::string>>());
  std::vector<CorruptImage> images;
  for (const auto& [path, reason] : all) images.push_back({path, reason});
  return images;
}

std::string unusable_on_any_rank(Communicator& comm, const Batch& batch) {
  const std::string own = batch.usable ? "" : stop_text(batch.corrupt);
  std::string message;
  for (const std::string& text : comm.all_gather_text(json_text(own)))
    if (message.empty()) message = nlohmann::json::parse(text).get<std::string>();
  return message;
}

}  // namespace syncnorm
