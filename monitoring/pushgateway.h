// Pushes metrics to a Prometheus Pushgateway.
#pragma once

#include <string>

namespace syncnorm {

/// Replaces the metrics that the gateway at `url` (http://host[:port][/prefix]) holds for `job` and
/// `instance` with `text`. Throws InputError with the reason when it does not answer with success
/// within `seconds`.
void push_metrics(const std::string& url, const std::string& job, const std::string& instance,
                  const std::string& text, double seconds);

}  // namespace syncnorm
