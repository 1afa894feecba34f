// What a reader should know of the runs, in words and tables.
#pragma once

#include <string>
#include <vector>

#include "monitoring/report/study_data.h"

namespace syncnorm::report {

/// Sentences: runs that diverged or are not done, statistics over few images, accuracy lost
/// between training and test, time lost in waiting.
std::vector<std::string> warnings_of(const StudyData& study);

struct Table {
  std::vector<std::string> columns;
  std::vector<std::vector<std::string>> rows;
};

/// Accuracy in a study that varies the batch per replica: a column for each, a row for all else.
Table accuracy_by_batch(const StudyData& study);

/// One row per setting: accuracy, loss, speed; mean ± sample standard deviation over seeds. With
/// seeds, the paired difference to the reference (engine/study/variants.h), in points.
Table every_setting(const StudyData& study);

/// One row per setting: updates to the study's target accuracy; no rows without a target.
Table updates_to_target(const StudyData& study);

/// Keys of the configuration that are not at their default, or differ between the runs.
Table changed_settings(const StudyData& study);

}  // namespace syncnorm::report
