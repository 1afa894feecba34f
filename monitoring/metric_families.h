// Numbers of the board to metric families of prometheus-cpp: every name, type, unit and help text
// of what syncnorm exports is in metric_families.cpp.
#pragma once

#include <string>
#include <utility>
#include <vector>

#include <prometheus/metric_family.h>

#include "monitoring/layer_metrics.h"
#include "monitoring/run_values.h"

namespace syncnorm {

using Families = std::vector<prometheus::MetricFamily>;
using Labels = std::vector<std::pair<std::string, std::string>>;

/// What a run and its program are called; equal on all nodes of a run.
struct RunLabels {
  Labels run;    // of syncnorm_run_info, the only metric that says which run it is
  Labels build;  // of syncnorm_build_info
};

struct RankReading {
  int rank = 0;
  RankValues values;
};

/// What the exporter itself costs.
struct ServingCost {
  double cpu_seconds = 0.0;  // of its threads' clocks
  double scrapes = 0.0;
};

void add_info(Families& families, const RunLabels& labels);
/// `now`: Unix time, seconds.
void add_run(Families& families, const RunValues& run, double now);
/// The ranks of one node.
void add_ranks(Families& families, const std::vector<RankReading>& ranks);
void add_layers(Families& families, const std::vector<LayerReading>& layers);
void add_cost(Families& families, const ServingCost& serving,
              const std::vector<RankReading>& ranks);

/// The text that Prometheus, node_exporter and the Pushgateway read.
std::string exposition(const Families& families);

}  // namespace syncnorm
