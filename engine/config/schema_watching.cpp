// Keys of monitoring and measurements during a run; they do not change its results.
#include "engine/config/schema_sections.h"

#include <fmt/format.h>

#include "base/error.h"
#include "engine/config/listen_address.h"
#include "engine/config/names.h"
#include "engine/config/paths.h"
#include "engine/config/run_name.h"

namespace syncnorm::config {

namespace {

/// Makes the key for one address, or a list of them.
SchemaKey listen_key() {
  return {"metrics.listen", "address, or list of addresses",
          "numeric `host:port` of the exporter, one per node; port 0: a free one; no TLS",
          [](const ConfigNode& node, const Field& field, Draft& draft) {
            const bool is_list = node.kind == NodeKind::list;
            std::vector<std::string> addresses;
            bool good = true;
            for (std::size_t i = 0; i < (is_list ? node.items.size() : 1); ++i) {
              const ConfigNode& entry = is_list ? node.items[i] : node;
              const Field item{is_list ? fmt::format("{}[{}]", field.key, i) : field.key,
                               field.problems};
              const auto text = read_text(entry, item);
              good = good && text;
              if (!text) continue;
              try {
                addresses.push_back(parse_listen_address(*text).text());
              } catch (const InputError& error) {
                item.fail(entry, error.what());
                good = false;
              }
            }
            if (good && addresses.empty())
              field.fail(node, "the list is empty; give an address, as 127.0.0.1:9464");
            good = good && !addresses.empty();
            if (good) draft.experiment.metrics.listen = addresses;
            return good;
          },
          [](const Draft& draft) {
            std::vector<std::string> texts;
            for (const std::string& address : draft.experiment.metrics.listen)
              texts.push_back(scalar_text(address));
            return texts.size() == 1 ? texts[0] : fmt::format("[{}]", fmt::join(texts, ", "));
          }};
}

Rows all_free_on_resume(Rows rows) {
  for (SchemaKey& key : rows) key.free_on_resume = true;
  return rows;
}

}  // namespace

Rows metrics_rows() {
  return all_free_on_resume({
      switch_key(
          "metrics.prometheus", [](auto& e) -> auto& { return e.metrics.prometheus; },
          "serve `/metrics` for Prometheus while the run lasts"),
      listen_key(),
      switch_key(
          "metrics.required", [](auto& e) -> auto& { return e.metrics.required; },
          "end the run when the exporter cannot listen; false: warn"),
      number_key(
          "metrics.linger", [](auto& e) -> auto& { return e.metrics.linger; },
          NumberRange{0.0, 3600.0, true, true},
          "seconds that a run waits at its end for a last scrape, so that its outcome is seen; "
          "only if it was scraped before and was not stopped"),
      optional_text_key(
          "metrics.user", [](auto& e) -> auto& { return e.metrics.user; }, "name, or `\"\"`",
          "user name for basic authentication on `/metrics`; empty: everybody may read"),
      optional_path_key(
          "metrics.password_file", [](auto& e) -> auto& { return e.metrics.password_file; },
          "file with the password of `user` in its first line; its mode must be 0600"),
      optional_path_key(
          "metrics.file_sd_dir", [](auto& e) -> auto& { return e.metrics.file_sd_dir; },
          "folder for a `file_sd` target file, which exists as long as the run"),
      optional_path_key(
          "metrics.textfile", [](auto& e) -> auto& { return e.metrics.textfile; },
          "file ending in `.prom` for node_exporter, written when the run ends"),
      optional_text_key(
          "metrics.pushgateway", [](auto& e) -> auto& { return e.metrics.pushgateway; },
          "`http://host:port`, or `\"\"`", "Pushgateway that gets the outcome of the run"),
      switch_key(
          "metrics.layers", [](auto& e) -> auto& { return e.metrics.layers; },
          "batch: export the statistics of every normalization layer too"),
      integer_key(
          "metrics.layer_limit", [](auto& e) -> auto& { return e.metrics.layer_limit; },
          between(1, 1000), "layers: number of layers that are exported, from the first on"),
      integer_key(
          "metrics.every_steps", [](auto& e) -> auto& { return e.metrics.every_steps; },
          at_least(1),
          "updates between samples of the layers' statistics and of the gradient's norm"),
      switch_key(
          "metrics.tensorboard", [](auto& e) -> auto& { return e.metrics.tensorboard; },
          "write TensorBoard event files into `run_dir`"),
  });
}

Rows probes_rows() {
  return all_free_on_resume({
      integer_key(
          "probes.every_steps", [](auto& e) -> auto& { return e.probes.every_steps; }, at_least(0),
          "updates between measurements; 0: none"),
      switch_key(
          "probes.activations", [](auto& e) -> auto& { return e.probes.activations; },
          "distribution of the input of every conv and linear layer, and its shift by the update; "
          "two forward passes"),
      switch_key(
          "probes.gradients", [](auto& e) -> auto& { return e.probes.gradients; },
          "norm of the gradient and size of the update, by layer"),
      switch_key(
          "probes.landscape", [](auto& e) -> auto& { return e.probes.landscape; },
          "loss and gradient along the gradient; a forward and backward pass per point"),
      number_key(
          "probes.landscape_from", [](auto& e) -> auto& { return e.probes.landscape_from; },
          kPositive, "landscape: first step along the gradient, as a learning rate"),
      number_key(
          "probes.landscape_to", [](auto& e) -> auto& { return e.probes.landscape_to; }, kPositive,
          "landscape: last step along the gradient"),
      integer_key(
          "probes.landscape_points", [](auto& e) -> auto& { return e.probes.landscape_points; },
          between(1, 1000), "landscape: points from the first to the last"),
      switch_key(
          "probes.covariate_shift", [](auto& e) -> auto& { return e.probes.covariate_shift; },
          "change of every layer's gradient by the update of the layers before it; a forward and "
          "backward pass per layer"),
      switch_key(
          "probes.signal_to_noise", [](auto& e) -> auto& { return e.probes.signal_to_noise; },
          "signal and noise of every layer's gradient, from two halves of the batch; two forward "
          "and backward passes"),
      switch_key(
          "probes.replica_spread", [](auto& e) -> auto& { return e.probes.replica_spread; },
          "distance of each replica's statistics from those of all replicas, at the input of every "
          "norm that is not frozen; a forward pass, or none with `activations`"),
  });
}

}  // namespace syncnorm::config
