// The rows of the schema, section by section; schema.cpp combines them.
#pragma once

#include <limits>
#include <vector>

#include "engine/config/schema_rows.h"

namespace syncnorm::config {

using Rows = std::vector<SchemaKey>;

inline constexpr NumberRange kPositive{0.0, std::numeric_limits<double>::infinity(), false, true};
inline constexpr NumberRange kNotNegative{};
inline constexpr NumberRange kBelowOne{0.0, 1.0, true, false};
inline constexpr NumberRange kUpToOne{0.0, 1.0, true, true};
inline constexpr NumberRange kFactor{0.0, 1.0, false, true};
inline constexpr NumberRange kScale{0.0, 16.0, false, true};

inline constexpr std::uint64_t kMostReplicas = 65536;
inline constexpr std::uint64_t kLargestSide = 4096;  // pixels, channels
inline constexpr std::uint64_t kWidestLayer = 1 << 20;

// schema_top.cpp
Rows top_level_rows();
Rows optimizer_rows();
Rows ema_rows();
Rows schedule_rows();
Rows ending_rows();  // loss, checkpoint, fault
// schema_data.cpp
Rows data_rows();
Rows scenes_rows();
Rows images_rows();
Rows masks_rows();
Rows evaluation_rows();
// schema_model.cpp
Rows model_rows();
Rows norm_rows();
// schema_watching.cpp
Rows metrics_rows();
Rows probes_rows();

}  // namespace syncnorm::config
