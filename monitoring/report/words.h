// The warnings and tables of a report.
#pragma once

#include <string>
#include <vector>

#include "monitoring/report/study_data.h"

namespace syncnorm::report {

/// Returns warnings as sentences: runs that diverged or are not done, statistics over few images,
/// accuracy lost between training and test, time lost in waiting.
std::vector<std::string> warnings_of(const StudyData& study);

struct Table {
  std::vector<std::string> columns;
  std::vector<std::vector<std::string>> rows;
};

/// Makes the accuracy table of a study that varies the batch per replica: one column per batch, one
/// row per line.
Table accuracy_by_batch(const StudyData& study);

/// Makes one row per setting: accuracy, loss, speed; mean ± sample standard deviation over seeds.
/// With seeds, also the paired difference from the reference (engine/study/variants.h), in points.
Table every_setting(const StudyData& study);

/// Makes one row per setting: updates until the study's target accuracy; no rows without a target.
Table updates_to_target(const StudyData& study);

/// Lists the configuration keys that are not at their default or differ between the runs.
Table changed_settings(const StudyData& study);

}  // namespace syncnorm::report
