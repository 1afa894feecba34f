// What a trainer does about images that cannot be used: it names each once, counts them over all
// ranks at the end, or stops the run, on all ranks behind the same step. One that cannot be read is
// not corrupt: it stops the run whatever the policy.
#include <fmt/format.h>

#include <nlohmann/json.hpp>

#include "base/error.h"
#include "base/printable.h"
#include "engine/train/agreement.h"
#include "engine/train/trainer.h"

namespace syncnorm {
namespace {

/// As JSON that can be sent and logged: what is no UTF-8 in a file's name is replaced.
std::string json_text(const nlohmann::json& json) {
  return json.dump(-1, ' ', false, nlohmann::json::error_handler_t::replace);
}

}  // namespace

void Trainer::note_corrupt(const std::vector<CorruptImage>& images) {
  const bool skip = experiment_.data.images.corrupt == CorruptPolicy::skip;
  for (const CorruptImage& image : images)
    if (!image.unreadable && corrupt_.emplace(image.path, image.reason).second && skip)
      fmt::print(stderr, "syncnorm: skipped {}: {}\n", printable_name(image.path),
                 printable_name(image.reason));
}

/// Every rank comes here behind the same step; those whose batch has such an image say which.
void Trainer::stop_on_corrupt(std::int64_t step, const Batch& batch) {
  const std::string own = batch.usable ? "" : stop_text(batch.corrupt);
  std::string message;
  for (const std::string& text : comm_.all_gather_text(json_text(own)))
    if (message.empty()) message = nlohmann::json::parse(text).get<std::string>();
  while (steps_->in_flight() > 0) steps_->finish(comm_.deadline());
  if (run_folder_taken_) finish(step, "stopped", message);
  throw InputError(message);
}

std::vector<CorruptImage> Trainer::corrupt_on_all_ranks() {
  std::map<std::string, std::string> all;
  for (const std::string& text : comm_.all_gather_text(json_text(corrupt_)))
    all.merge(nlohmann::json::parse(text).get<std::map<std::string, std::string>>());
  std::vector<CorruptImage> images;
  for (const auto& [path, reason] : all) images.push_back({path, reason});
  return images;
}

void Trainer::take_precise_statistics(std::int64_t step) {
  precise_->run(step);
  const CorruptFindings& found = precise_->found();
  note_corrupt(found.corrupt);
  if (dataset_.train.stored == nullptr) return;
  agree(comm_, [&] {
    if (!found.usable) throw InputError(stop_text(found.corrupt));
  });
}

}  // namespace syncnorm
