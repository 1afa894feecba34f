// The pictures of a run's examples (monitoring/examples.h), and the results of its classes.
#pragma once

#include <nlohmann/json.hpp>

#include "monitoring/report/study_data.h"
#include "monitoring/report/words.h"

namespace syncnorm::report {

/// Returns the pictures of the first run of each setting that has any: all of a single run; of a
/// study the first three, for at most eight settings. {"legend": [{name, color}], "settings":
/// [{"name", "images": [{"sample", "png": base64}]}]}; settings may be empty.
nlohmann::ordered_json examples_of(const StudyData& study);

/// Makes one row per setting and one column per class: the IoU of test pixels or the accuracy of
/// test images, mean over seeds. Empty without results of classes, or for more than 64 classes.
Table result_per_class(const StudyData& study);

}  // namespace syncnorm::report
