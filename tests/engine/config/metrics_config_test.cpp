// The keys of metrics: what is taken, and what is refused with its place.
#include <gtest/gtest.h>

#include "base/error.h"
#include "engine/config/listen_address.h"
#include "tests/engine/config/config_test_files.h"

namespace syncnorm {
namespace {

constexpr const char* kUse = "write host:port, as 127.0.0.1:9464";
constexpr const char* kProxy =
    "asks for TLS, which the exporter does not speak; listen on 127.0.0.1:9464 and put a proxy "
    "that "
    "does TLS (nginx, stunnel) in front of it";

TEST(MetricsConfig, EveryKeyIsTaken) {
  const MetricsConfig m =
      parse_experiment_text(
          "metrics: {prometheus: true, listen: ['[::1]:0', localhost:80], required: true, user: "
          "ann, "
          "password_file: p, file_sd_dir: d, textfile: t.prom, pushgateway: 'http://h:9091', "
          "layers: true, layer_limit: 7, every_steps: 3, linger: 0.5, tensorboard: true}\n",
          "a.yaml")
          .experiment.metrics;
  EXPECT_TRUE(m.prometheus && m.required && m.layers && m.tensorboard);
  EXPECT_EQ(m.listen, (std::vector<std::string>{"[::1]:0", "127.0.0.1:80"}));
  EXPECT_EQ(m.user + m.password_file + m.file_sd_dir + m.textfile + m.pushgateway,
            "annpdt.promhttp://h:9091");
  EXPECT_EQ(m.layer_limit, 7);
  EXPECT_EQ(m.every_steps, 3);
  EXPECT_EQ(m.linger, 0.5);
}

TEST(MetricsConfig, NothingIsOnByDefault) {
  const MetricsConfig m = parse_experiment_text("{}\n", "a.yaml").experiment.metrics;
  EXPECT_FALSE(m.any() || m.required || m.layers || m.tensorboard);
  EXPECT_EQ(m.listen, std::vector<std::string>{"127.0.0.1:9464"});
  const MetricsConfig none =
      parse_experiment_text("metrics: {textfile: \"\", user: ''}\n", "a.yaml").experiment.metrics;
  EXPECT_EQ(none.textfile + none.user, "");
}

TEST(MetricsConfig, MistakesHaveTheirPlaces) {
  const std::string listen = "a.yaml:1:19: metrics.listen: ";
  const std::pair<std::string, std::string> cases[] = {
      {"metrics: {listen: '127.0.0.1:9464s'}\n", listen + "'127.0.0.1:9464s' " + kProxy},
      {"metrics: {listen: 'https://127.0.0.1:9464'}\n",
       listen + "'https://127.0.0.1:9464' " + kProxy},
      {"metrics: {listen: 'http://127.0.0.1:9464'}\n",
       listen + "'http://127.0.0.1:9464' is a URL; " + kUse},
      {"metrics: {listen: 9464}\n", listen + "'9464' has no port; " + kUse},
      {"metrics: {listen: '127.0.0.1:70000'}\n",
       listen + "'127.0.0.1:70000' has no port from 0 to 65535; " + kUse},
      {"metrics: {listen: 'node7:9464'}\n",
       listen + "'node7:9464' has no numeric host; write one as 127.0.0.1:9464, or "
                "0.0.0.0:9464 for all addresses"},
      {"metrics: {listen: []}\n", listen + "the list is empty; give an address, as 127.0.0.1:9464"},
      {"metrics: {listen: ['127.0.0.1:1', 'x']}\n",
       "a.yaml:1:35: metrics.listen[1]: 'x' has no port; " + std::string(kUse)},
      {"metrics: {user: ann}\n",
       "a.yaml:1:17: metrics.password_file: user and password_file go together; give both, or "
       "neither"},
      {"metrics: {password_file: p}\n",
       "a.yaml:1:26: metrics.user: user and password_file go together; give both, or neither"},
      {"metrics: {user: 'a:b', password_file: p}\n",
       "a.yaml:1:17: metrics.user: a user name of basic authentication has no colon; choose "
       "another"},
      {"metrics: {file_sd_dir: d}\n",
       "a.yaml:1:24: metrics.file_sd_dir: there is no target without an exporter; set "
       "`metrics.prometheus: true`"},
      {"metrics: {textfile: t.txt}\n",
       "a.yaml:1:21: metrics.textfile: node_exporter reads files that end in .prom only; give it "
       "such a name"},
      {"metrics: {pushgateway: 'https://h'}\n",
       "a.yaml:1:24: metrics.pushgateway: TLS is not spoken here; give the http:// address of a "
       "proxy that does"},
      {"metrics: {pushgateway: h}\n",
       "a.yaml:1:24: metrics.pushgateway: is no address; write http://host:port, as "
       "http://127.0.0.1:9091"},
      {"metrics: {layer_limit: 0}\n",
       "a.yaml:1:24: metrics.layer_limit: '0' is out of range; give an integer from 1 to 1000"},
      {"metrics: {every_steps: 0}\n",
       "a.yaml:1:24: metrics.every_steps: '0' is out of range; give an integer ≥ 1"},
  };
  for (const auto& [text, message] : cases) EXPECT_EQ(text_error(text.c_str()), message) << text;
}

TEST(ListenAddress, IsPrintedAsItIsRead) {
  for (const char* text : {"127.0.0.1:9464", "0.0.0.0:0", "[::1]:65535", "[::]:1"})
    EXPECT_EQ(parse_listen_address(text).text(), text);
  EXPECT_TRUE(parse_listen_address("[::]:1").is_any());
  EXPECT_TRUE(parse_listen_address("0.0.0.0:1").is_any());
  EXPECT_FALSE(parse_listen_address("127.0.0.1:1").is_any());
  for (const char* text :
       {"", ":", "127.0.0.1:", "127.0.0.1:-1", "127.0.0.1:+1", "127.0.0.1: 1", "127.0.0.1:1r",
        "::1:9", "[127.0.0.1]:9", "1.2.3:9", "1.2.3.4,5.6.7.8:9"})
    EXPECT_THROW(parse_listen_address(text), InputError) << text;
}

}  // namespace
}  // namespace syncnorm
