// What a study compares: its variants, each with the runs of its seeds, the values that best_of
// chose for it, and how it differs from the variant it is measured against.
//
// The same rules make the table of `syncnorm compare`, study.json and the report.
#pragma once

#include <cstddef>
#include <optional>
#include <string>
#include <utility>
#include <vector>

#include "engine/study/paired.h"

namespace syncnorm {

using StudySettings = std::vector<std::pair<std::string, std::string>>;  // key path, value

/// A run of a study, as far as it came.
struct StudyOutcome {
  StudySettings settings;
  std::string status;                // "done", "diverged", or another word: not finished
  double accuracy = 0.0;             // on the test set; nan: not known
  double validation_accuracy = 0.0;  // of the last evaluation; nan: not known
};

struct Variant {
  StudySettings settings;  // without the seed and the keys of best_of
  StudySettings chosen;    // values of the keys of best_of; empty: nothing to choose from yet
  std::vector<std::size_t> runs;  // of the chosen values; of all, where none are chosen
  int reference = -1;             // index of the variant it is measured against, or -1
  /// Difference in test accuracy, in [−1, 1], over the seeds that both have done.
  std::optional<PairedDifference> difference;
};

/// In the order of the runs. `best_of`: key paths whose values are chosen, for every variant alone:
/// those with the highest mean validation accuracy over the seeds that ended, the first of equal
/// ones; a diverged run counts as 0, values of which no run has ended are not chosen. The test
/// accuracy has no part in it.
///
/// The reference of a variant has the first value of the first key that the study varies, and
/// otherwise the same settings, as far as it has them; variants with that first value have none.
std::vector<Variant> make_variants(const std::vector<StudyOutcome>& outcomes,
                                   const std::vector<std::string>& best_of);

/// "norm=bn, batch_per_replica=2", or "" of none.
std::string settings_text(const StudySettings& settings);

/// "+1.20 ± 0.40", in points of a percent, or "" where there is none.
std::string difference_text(const Variant& variant);

}  // namespace syncnorm
