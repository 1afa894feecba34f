// The progress bar: loss, learning rate, images/s and time left. Loss and step time are smoothed
// over recent steps.
#include "monitoring/console.h"

#include <algorithm>
#include <cmath>
#include <ostream>

#include <fmt/format.h>

#include "base/clock.h"
#include "base/printable.h"

namespace syncnorm {
namespace {

constexpr double kSmoothing = 0.05;     // weight of the newest step
constexpr double kRedrawSeconds = 0.1;  // on a terminal
constexpr double kPlainSeconds = 5.0;   // elsewhere
constexpr int kLeastBar = 8;            // columns

std::string duration(double seconds) {
  const long s = std::lround(seconds);
  if (s >= 3600) return fmt::format("{}:{:02}:{:02}", s / 3600, s / 60 % 60, s % 60);
  return fmt::format("{}:{:02}", s / 60, s % 60);
}

/// Lists the images that could not be used, the first few by name.
std::string corrupt_images(const EndEvent& event) {
  constexpr std::size_t kNamed = 5;
  if (event.corrupt.empty()) return "";
  std::string text = fmt::format("  {} corrupt image{}\n", event.corrupt.size(),
                                 event.corrupt.size() == 1 ? "" : "s");
  for (std::size_t i = 0; i < std::min(kNamed, event.corrupt.size()); ++i)
    text += fmt::format("    {}: {}\n", printable_name(event.corrupt[i].first),
                        printable_name(event.corrupt[i].second));
  if (event.corrupt.size() > kNamed) text += "    and more; metrics.jsonl names all of them\n";
  return text;
}

/// Returns the statistics or weights of an evaluation, where the run has several.
std::string statistics_of(const EvalEvent& event) {
  if (!event.weights.empty()) return fmt::format(" ({} weights)", event.weights);
  if (event.statistics.empty()) return "";
  const std::string weight =
      event.sample_weight >= 0.0 ? fmt::format(", sample's weight {:g}", event.sample_weight) : "";
  return fmt::format(" ({} statistics{})", event.statistics, weight);
}

/// The test accuracies of all evaluations side by side, where the run has several.
std::string table_of_statistics(const EndEvent& event) {
  std::string text;
  for (const EvalEvent& other : event.other_evaluations)
    if (other.split == "test")
      text += fmt::format("{} {:.2f}%{}", text.empty() ? "" : ",", 100.0 * other.score(),
                          statistics_of(other));
  if (text.empty() || !event.test) return "";
  return fmt::format("  test {} {:.2f}%; also{}\n", event.metric.title, 100.0 * event.test->score(),
                     text);
}

/// The result of every class, where pixels have labels and the classes fit a few lines.
std::string table_of_classes(const EndEvent& event) {
  constexpr std::size_t kMost = 40;
  if (!event.test || !event.test->per_pixel() || event.test->classes.size() > kMost) return "";
  std::string text = "  IoU of test pixels:";
  for (const ClassResult& one : event.test->classes)
    text += fmt::format(" {} {},", printable(one.name),
                        std::isnan(one.iou) ? "-" : fmt::format("{:.1f}%", 100.0 * one.iou));
  text.back() = '\n';
  return text;
}

/// The last line of every run: the shares of the measured time, and its total.
std::string where_the_time_went(const EndEvent& event) {
  const double reductions = event.reduction_share * event.seconds;
  const double data = event.data_share * event.seconds;
  const double all = event.seconds + event.evaluation_seconds + event.checkpoint_seconds;
  if (all <= 0.0) return "";
  return fmt::format(
      "  the time went to: computing {:.1f}%, exposed reductions {:.1f}%, waiting for data "
      "{:.1f}%, "
      "evaluation {:.1f}%, checkpoints {:.1f}% of {:.1f} s\n",
      100.0 * (event.seconds - reductions - data) / all, 100.0 * reductions / all,
      100.0 * data / all, 100.0 * event.evaluation_seconds / all,
      100.0 * event.checkpoint_seconds / all, all);
}

}  // namespace

void Console::clear_line() {
  if (columns_) out_ << "\r\033[K";
}

void Console::on_start(const StartEvent& event) {
  start_ = event;
  first_ = true;
  out_ << fmt::format("{}: {} with {} parameters, {} replicas of {} on {} rank{}, {} steps\n",
                      printable_name(event.name), event.model, event.parameters, event.replicas,
                      event.batch_per_replica, event.ranks, event.ranks == 1 ? "" : "s",
                      event.total_steps)
       << fmt::format("  {}; {}; run folder {}\n", event.device, event.communicator,
                      printable_name(event.run_dir))
       << fmt::format("  {}: {} training, {} validation and {} test images of {} classes\n",
                      event.dataset, event.train_samples, event.validation_samples,
                      event.test_samples, event.classes)
       << std::flush;
}

void Console::on_resume(const ResumeEvent& event) {
  out_ << fmt::format("  resumes after step {} from {}\n", event.step, printable_name(event.path));
  if (!event.note.empty()) out_ << "  " << printable(event.note) << "\n";
  out_ << std::flush;
}

void Console::on_step(const StepEvent& event) {
  const auto smooth = [&](double& average, double value) {
    average = first_ ? value : average + kSmoothing * (value - average);
  };
  smooth(smoothed_loss_, event.loss);
  smooth(smoothed_seconds_, event.seconds);
  first_ = false;
  const auto now = Clock::now();
  const double quiet = seconds_between(last_shown_, now);
  if (quiet < (columns_ ? kRedrawSeconds : kPlainSeconds) && event.step != start_.total_steps)
    return;
  last_shown_ = now;
  const double rate = static_cast<double>(event.samples) / std::max(1e-9, smoothed_seconds_);
  const double left = smoothed_seconds_ * static_cast<double>(start_.total_steps - event.step);
  const std::string facts = fmt::format(
      "step {}/{}  epoch {}  loss {:.4f}  lr {:.4g}  {:.0f} images/s  {} left", event.step,
      start_.total_steps, event.epoch, smoothed_loss_, event.lr, rate, duration(left));
  if (!columns_) {
    out_ << "  " << facts << std::endl;
    return;
  }
  draw_line(facts, static_cast<double>(event.step) /
                       static_cast<double>(std::max<std::int64_t>(1, start_.total_steps)));
}

/// Draws a bar and the facts as far as they fit into one line: a longer line would wrap and could
/// not be redrawn. The facts are ASCII.
void Console::draw_line(const std::string& facts, double done) {
  const int columns = std::max(0, columns_() - 1);  // a full last column may wrap
  const int room = columns - static_cast<int>(facts.size()) - 3;
  bar_width_ = std::min(bar_width_, room);  // it only shrinks, so that the bar does not jump
  const int width = bar_width_ >= kLeastBar ? bar_width_ : 0;
  std::string bar;
  for (int i = 0; i < width; ++i) bar += i < static_cast<int>(done * width) ? "█" : "░";
  out_ << "\r\033[K";
  if (width > 0)
    out_ << "  " << bar << " " << facts << std::flush;
  else
    out_ << facts.substr(0, static_cast<std::size_t>(columns)) << std::flush;
}

void Console::on_eval(const EvalEvent& event) {
  clear_line();
  const std::string of_pixels =
      event.per_pixel() ? fmt::format("mIoU {:.2f}%, pixel ", 100.0 * event.mean_iou) : "";
  out_ << fmt::format("  step {}: {} {}accuracy {:.2f}%, loss {:.4f}{}\n", event.step, event.split,
                      of_pixels, 100.0 * event.accuracy, event.loss, statistics_of(event))
       << std::flush;
}

void Console::on_checkpoint_failed(const CheckpointFailedEvent& event) {
  clear_line();
  out_ << fmt::format("  warning: step {} is not saved; training continues: {}\n", event.step,
                      printable(event.message))
       << std::flush;
}

void Console::on_end(const EndEvent& event) {
  clear_line();
  if (event.status == "done")
    out_ << fmt::format(
        "  done in {}: {:.0f} images/s, {:.1f}% of the time in exposed reductions\n",
        duration(event.seconds), event.samples_per_second, 100.0 * event.reduction_share);
  out_ << table_of_statistics(event) << table_of_classes(event) << corrupt_images(event)
       << where_the_time_went(event) << std::flush;
}

}  // namespace syncnorm
