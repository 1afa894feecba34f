// See variants.h.
#include "engine/study/variants.h"

#include <algorithm>
#include <cmath>

#include <fmt/format.h>

namespace syncnorm {
namespace {

constexpr const char* kSeed = "seed";

const std::string* find(const StudySettings& settings, const std::string& path) {
  const auto found = std::find_if(settings.begin(), settings.end(),
                                  [&](const auto& setting) { return setting.first == path; });
  return found == settings.end() ? nullptr : &found->second;
}

bool contains(const std::vector<std::string>& paths, const std::string& path) {
  return std::find(paths.begin(), paths.end(), path) != paths.end();
}

/// The runs of a variant with the same values of the best_of keys.
struct Candidate {
  StudySettings chosen;
  std::vector<std::size_t> runs;
};

/// Returns its mean validation score; -1 if no run has ended.
double score_of(const Candidate& candidate, const std::vector<StudyOutcome>& outcomes) {
  double sum = 0.0;
  int ended = 0;
  for (const std::size_t run : candidate.runs) {
    const StudyOutcome& outcome = outcomes[run];
    const bool done = outcome.status == "done" && std::isfinite(outcome.validation_score);
    if (!done && outcome.status != "diverged") continue;
    ++ended;
    if (done) sum += outcome.validation_score;
  }
  return ended == 0 ? -1.0 : sum / ended;
}

void choose(Variant& variant, const std::vector<Candidate>& candidates,
            const std::vector<StudyOutcome>& outcomes) {
  double best = -1.0;
  for (const Candidate& candidate : candidates) {
    const double score = score_of(candidate, outcomes);
    if (score <= best) continue;
    best = score;
    variant.chosen = candidate.chosen;
    variant.runs = candidate.runs;
  }
}

std::vector<Candidate> candidates_of(const Variant& variant,
                                     const std::vector<StudyOutcome>& outcomes,
                                     const std::vector<std::string>& best_of) {
  std::vector<Candidate> candidates;
  for (const std::size_t run : variant.runs) {
    StudySettings chosen;
    for (const auto& setting : outcomes[run].settings)
      if (contains(best_of, setting.first)) chosen.push_back(setting);
    auto same = std::find_if(candidates.begin(), candidates.end(),
                             [&](const Candidate& c) { return c.chosen == chosen; });
    if (same == candidates.end()) same = candidates.insert(candidates.end(), {chosen, {}});
    same->runs.push_back(run);
  }
  return candidates;
}

/// Returns true if `settings` has every setting of `reference`, except that `key` may differ.
bool fits(const StudySettings& reference, const StudySettings& settings, const std::string& key) {
  return std::all_of(reference.begin(), reference.end(), [&](const auto& setting) {
    const std::string* own = find(settings, setting.first);
    return setting.first == key || (own != nullptr && *own == setting.second);
  });
}

void find_references(std::vector<Variant>& variants) {
  if (variants.empty() || variants[0].settings.empty()) return;
  const std::string key = variants[0].settings[0].first, first = variants[0].settings[0].second;
  const auto is_first = [&](const Variant& variant) {
    const std::string* value = find(variant.settings, key);
    return value != nullptr && *value == first;
  };
  for (Variant& variant : variants) {
    if (is_first(variant)) continue;
    const auto found = std::find_if(variants.begin(), variants.end(), [&](const Variant& other) {
      return is_first(other) && fits(other.settings, variant.settings, key);
    });
    if (found != variants.end()) variant.reference = static_cast<int>(found - variants.begin());
  }
}

/// Returns the seed of a run that is done and was tested, or null.
const std::string* tested_seed(const StudyOutcome& outcome) {
  const bool tested = outcome.status == "done" && std::isfinite(outcome.score);
  return tested ? find(outcome.settings, kSeed) : nullptr;
}

std::optional<PairedDifference> difference_of(const Variant& variant, const Variant& reference,
                                              const std::vector<StudyOutcome>& outcomes) {
  std::vector<double> own, other;
  for (const std::size_t run : variant.runs) {
    const std::string* seed = tested_seed(outcomes[run]);
    if (seed == nullptr) continue;
    for (const std::size_t partner : reference.runs) {
      const std::string* same = tested_seed(outcomes[partner]);
      if (same == nullptr || *same != *seed) continue;
      own.push_back(outcomes[run].score);
      other.push_back(outcomes[partner].score);
    }
  }
  return paired_difference(own, other);
}

}  // namespace

std::vector<Variant> make_variants(const std::vector<StudyOutcome>& outcomes,
                                   const std::vector<std::string>& best_of) {
  std::vector<Variant> variants;
  for (std::size_t run = 0; run < outcomes.size(); ++run) {
    StudySettings settings;
    for (const auto& setting : outcomes[run].settings)
      if (setting.first != kSeed && !contains(best_of, setting.first)) settings.push_back(setting);
    auto same = std::find_if(variants.begin(), variants.end(),
                             [&](const Variant& v) { return v.settings == settings; });
    if (same == variants.end()) {
      same = variants.insert(variants.end(), Variant());
      same->settings = settings;
    }
    same->runs.push_back(run);
  }
  if (!best_of.empty())
    for (Variant& variant : variants)
      choose(variant, candidates_of(variant, outcomes, best_of), outcomes);
  find_references(variants);
  for (Variant& variant : variants)
    if (variant.reference >= 0)
      variant.difference =
          difference_of(variant, variants[static_cast<std::size_t>(variant.reference)], outcomes);
  return variants;
}

std::string settings_text(const StudySettings& settings) {
  std::string text;
  for (const auto& [path, value] : settings)
    text += (text.empty() ? "" : ", ") + path + "=" + value;
  return text;
}

std::string difference_text(const Variant& variant) {
  if (!variant.difference) return "";
  return fmt::format("{:+.2f} ± {:.2f}", 100.0 * variant.difference->mean,
                     100.0 * variant.difference->half_width);
}

}  // namespace syncnorm
