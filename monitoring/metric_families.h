// Converts the board's numbers to metric families of prometheus-cpp. metric_families.cpp has the
// name, type, unit and help text of everything that syncnorm exports.
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

/// Labels that identify a run and its program; equal on all nodes of a run.
struct RunLabels {
  Labels run;    // of syncnorm_run_info, the only metric that identifies the run
  Labels build;  // of syncnorm_build_info
};

struct RankReading {
  int rank = 0;
  RankValues values;
};

/// The cost of the exporter itself.
struct ServingCost {
  double cpu_seconds = 0.0;  // of its threads
  double scrapes = 0.0;
};

void add_info(Families& families, const RunLabels& labels);
/// `now` is Unix time in seconds.
void add_run(Families& families, const RunValues& run, double now);
/// Adds the metrics of one node's ranks.
void add_ranks(Families& families, const std::vector<RankReading>& ranks);
void add_layers(Families& families, const std::vector<LayerReading>& layers);
void add_cost(Families& families, const ServingCost& serving,
              const std::vector<RankReading>& ranks);

/// Formats the families as the text that Prometheus, node_exporter and the Pushgateway read.
std::string exposition(const Families& families);

}  // namespace syncnorm
