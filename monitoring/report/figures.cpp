// See figures.h.
#include "monitoring/report/figures.h"

#include <algorithm>
#include <cctype>
#include <cmath>
#include <cstdlib>
#include <set>

#include <fmt/format.h>

#include "monitoring/report/curves.h"
#include "monitoring/report/probe_figures.h"

namespace syncnorm::report {
namespace {

/// The settings that share a figure: all of them, or those with the same batch per replica.
struct Group {
  std::string title;  // ", 2 images per replica", or ""
  std::vector<const Setting*> settings;
};

std::vector<Group> groups_of(const StudyData& study) {
  std::vector<Group> groups;
  for (const Setting& setting : study.settings) {
    const std::string title = setting.batch.empty()
                                  ? ""
                                  : fmt::format(", {} image{} per replica", setting.batch,
                                                setting.batch == "1" ? "" : "s");
    const auto same = std::find_if(groups.begin(), groups.end(),
                                   [&](const Group& g) { return g.title == title; });
    Group& group = same != groups.end() ? *same : groups.emplace_back(Group{title, {}});
    group.settings.push_back(&setting);
  }
  return groups;
}

/// Returns the colour of a line, which is that of its setting in every figure.
int color_of(const StudyData& study, const std::string& line) {
  std::vector<std::string> seen;
  for (const Setting& setting : study.settings)
    if (std::find(seen.begin(), seen.end(), setting.line) == seen.end())
      seen.push_back(setting.line);
  return static_cast<int>(std::find(seen.begin(), seen.end(), line) - seen.begin());
}

Axis axis_over(Over over) {
  return {over == Over::steps ? "updates" : "seconds of training", "plain", "linear"};
}

const char* words_of(Over over) { return over == Over::steps ? "updates" : "time"; }

bool has_seeds(const StudyData& study) {
  return std::any_of(study.settings.begin(), study.settings.end(),
                     [](const Setting& setting) { return setting.runs.size() > 1; });
}

std::string band_note(const StudyData& study, const std::string& alone) {
  return has_seeds(study) ? "Line: mean over seeds; band: minimum and maximum over seeds." : alone;
}

/// Adds one line per setting, merged from the curves that `curve` makes of its runs.
template <class F>
void add_lines(Figure& figure, const StudyData& study, const Group& group, Over over,
               const std::string& suffix, int color_offset, F curve) {
  for (const Setting* setting : group.settings) {
    std::vector<Curve> curves;
    for (const RunData& run : setting->runs) curves.push_back(curve(run));
    const Curve merged = merge(curves);
    const std::string name =
        setting->line + (setting->line.empty() || suffix.empty() ? "" : ", ") + suffix;
    if (!merged.empty())
      figure.lines.push_back(
          to_line(merged, over, name, color_of(study, setting->line) + color_offset));
  }
}

/// Returns true when all points of all lines have the same x.
bool has_one_x(const Figure& figure) {
  std::set<double> found;
  for (const Line& line : figure.lines) found.insert(line.x.begin(), line.x.end());
  return found.size() == 1;
}

std::vector<std::string> splits_of(const StudyData& study) {
  std::set<std::string> splits;
  for (const Setting& setting : study.settings)
    for (const RunData& run : setting.runs)
      for (const EvalRow& row : run.evals) splits.insert(row.split);
  return {splits.begin(), splits.end()};
}

/// `of_training`: also that of training batches, in the report of a single run.
Figure evaluation_figure(const StudyData& study, const Group& group, Over over,
                         const std::string& metric, double EvalRow::*number, bool of_training) {
  Figure figure;
  figure.section = "Accuracy and loss";
  std::string title = metric;
  if (metric != kMeanIouMetric.title) title[0] = static_cast<char>(std::toupper(title[0]));
  figure.title = fmt::format("{} over {}{}", title, words_of(over), group.title);
  figure.x = axis_over(over);
  figure.y = {metric, "percent", "linear"};
  int offset = 0;
  const std::vector<std::string> splits = splits_of(study);
  for (const std::string& split : splits) {
    add_lines(figure, study, group, over, splits.size() > 1 || !study.is_study ? split : "", offset,
              [&](const RunData& run) { return curve_of_evals(run, split, number); });
    offset += study.is_study ? 8 : 1;  // in a study, colours from 8 on are dashed
  }
  if (of_training)
    add_lines(figure, study, group, over, "training batches", offset,
              [](const RunData& run) { return curve_of_steps(run, &StepRow::accuracy); });
  if (over == Over::steps && has_one_x(figure)) figure.lines.clear();  // the table already shows it
  figure.note = band_note(study, of_training ? "Training batches: mean and range of "
                                               "neighbouring updates, before each update."
                                             : "");
  return figure;
}

Figure step_figure(const StudyData& study, const Group& group, Over over, const char* title,
                   const Axis& y, double StepRow::*number) {
  Figure figure;
  figure.section = "Accuracy and loss";
  figure.title = fmt::format("{} over {}{}", title, words_of(over), group.title);
  figure.x = axis_over(over);
  figure.y = y;
  add_lines(figure, study, group, over, "", 0,
            [&](const RunData& run) { return curve_of_steps(run, number); });
  for (Line& line : figure.lines)
    if (line.name.empty()) line.name = y.label;
  figure.note = band_note(study, "Mean and range of neighbouring updates.");
  return figure;
}

/// Makes the figure of Wu & He 2018: error on the test set over the batch per replica.
Figure batch_figure(const StudyData& study) {
  Figure figure;
  figure.section = "Result";
  const bool of_pixels = study.metric() == kMeanIouMetric;
  figure.title =
      fmt::format("Test error{} against batch per replica", of_pixels ? " (1 - mIoU)" : "");
  figure.note = band_note(study, "");
  figure.x = {"images per replica", "plain", "log"};
  figure.y = {"test error", "percent", "linear"};
  for (const Setting& setting : study.settings) {
    const std::vector<double> errors =
        setting.numbers([](const RunData& run) { return 1.0 - run.score("test"); });
    if (setting.batch.empty() || errors.empty()) continue;
    const int color = color_of(study, setting.line);
    const auto same = std::find_if(figure.lines.begin(), figure.lines.end(),
                                   [&](const Line& l) { return l.name == setting.line; });
    Line& line = same != figure.lines.end()
                     ? *same
                     : figure.lines.emplace_back(Line{setting.line, color, {}, {}, {}, {}});
    const Spread s = spread_of(errors);
    line.x.push_back(std::atof(setting.batch.c_str()));
    line.y.push_back(s.mean);
    line.low.push_back(s.low);
    line.high.push_back(s.high);
  }
  return figure;
}

/// Returns a step's milliseconds: computing, waiting for other ranks, waiting for data. Computing
/// is the rest of the total.
std::vector<double> split_of_step(const Setting& setting) {
  double total = 0.0, data = 0.0, reduction = 0.0, steps = 0.0;
  for (const RunData& run : setting.runs) {
    for (const StepRow& row : run.steps) {
      if (!std::isfinite(row.seconds + row.data_seconds + row.reduction_seconds)) continue;
      total += row.seconds;
      data += row.data_seconds;
      reduction += row.reduction_seconds;
      steps += 1.0;
    }
  }
  if (steps == 0.0) return {};
  const double scale = 1e3 / steps;
  return {scale * std::max(total - data - reduction, 0.0), scale * reduction, scale * data};
}

Figure time_figure(const Group& group) {
  Figure figure;
  figure.section = "Cost";
  figure.title = "Where a step's time goes" + group.title;
  figure.note = "Mean over all updates, on rank 0.";
  figure.x = {"milliseconds per update", "plain", "linear"};
  figure.part_names = {"computing", "waiting for other ranks", "waiting for data"};
  for (const Setting* setting : group.settings)
    if (const std::vector<double> split = split_of_step(*setting); !split.empty())
      figure.bars.push_back({setting->line.empty() ? "a step" : setting->line, split});
  return figure;
}

}  // namespace

std::vector<Figure> make_figures(const StudyData& study) {
  std::vector<Figure> figures = {batch_figure(study)};
  const std::vector<Group> groups = groups_of(study);
  const std::string accuracy = study.metric() == kMeanIouMetric ? "pixel accuracy" : "accuracy";
  for (const Group& group : groups) {
    for (const Over over : {Over::steps, Over::seconds}) {
      if (study.metric() == kMeanIouMetric)
        figures.push_back(evaluation_figure(study, group, over, "mIoU", &EvalRow::score, false));
      figures.push_back(
          evaluation_figure(study, group, over, accuracy, &EvalRow::accuracy, !study.is_study));
      figures.push_back(step_figure(study, group, over, "Training loss", {"loss", "plain", "auto"},
                                    &StepRow::loss));
    }
    if (study.is_study) continue;
    figures.push_back(step_figure(study, group, Over::steps, "Learning rate",
                                  {"learning rate", "plain", "auto"}, &StepRow::lr));
    figures.push_back(step_figure(study, group, Over::steps, "Norm of the gradient",
                                  {"2-norm before clipping", "plain", "auto"},
                                  &StepRow::gradient_norm));
  }
  for (const Group& group : groups) figures.push_back(time_figure(group));
  for (Figure& figure : make_probe_figures(study)) figures.push_back(std::move(figure));
  const auto is_empty = [](const Figure& figure) {
    const auto has_values = [](const Line& line) {
      return std::any_of(line.y.begin(), line.y.end(), [](double v) { return std::isfinite(v); });
    };
    return figure.bars.empty() &&
           std::none_of(figure.lines.begin(), figure.lines.end(), has_values);
  };
  std::erase_if(figures, is_empty);
  return figures;
}

}  // namespace syncnorm::report
