// The variants that a study compares: each with the runs of its seeds, the values chosen by
// best_of, and the difference to its reference.
//
// The table of `syncnorm compare`, study.json and the report all use these rules.
#pragma once

#include <cstddef>
#include <optional>
#include <string>
#include <utility>
#include <vector>

#include "engine/study/paired.h"

namespace syncnorm {

using StudySettings = std::vector<std::pair<std::string, std::string>>;  // key path, value

/// The state and results of a run.
struct StudyOutcome {
  StudySettings settings;
  std::string status;  // "done", "diverged", or another word for not finished
  // By the run's metric, accuracy or mIoU; nan: unknown.
  double score = 0.0;             // on the test set
  double validation_score = 0.0;  // of the last evaluation
};

struct Variant {
  StudySettings settings;         // except the seed and the keys of best_of
  StudySettings chosen;           // values of the keys of best_of; empty: none chosen yet
  std::vector<std::size_t> runs;  // with the chosen values; all runs if none are chosen
  int reference = -1;             // index of the variant with which it is compared, or -1
  /// Difference in test score, in [−1, 1], over the seeds that are done in both.
  std::optional<PairedDifference> difference;
};

/// Groups runs into variants, in the order of the runs. `best_of` are key paths whose values are
/// chosen per variant: those with the highest mean validation score over the finished seeds, the
/// first ones if equal. A diverged run counts as 0; values without a finished run are not chosen.
/// The test score has no influence.
///
/// The reference of a variant has the first value of the first key that the study varies, and
/// otherwise the same settings, for all keys that the reference has. Variants with that first value
/// have no reference.
std::vector<Variant> make_variants(const std::vector<StudyOutcome>& outcomes,
                                   const std::vector<std::string>& best_of);

/// Returns, for example, "norm=bn, batch_per_replica=2"; "" for no settings.
std::string settings_text(const StudySettings& settings);

/// Returns, for example, "+1.20 ± 0.40", in percentage points; "" if there is no difference.
std::string difference_text(const Variant& variant);

}  // namespace syncnorm
