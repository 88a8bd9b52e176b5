#include "train/log_plot.h"

#include <fstream>
#include <limits>
#include <nlohmann/json.hpp>
#include <vector>

#include "plot.h"

namespace tome::train {
namespace {

using cli::PlotSeries;

/// The number of a key; not a number where there is none, as the mean of nothing.
double number(const nlohmann::json& record, const char* key) {
  const auto found = record.find(key);
  return found != record.end() && found->is_number() ? found->get<double>()
                                                     : std::numeric_limits<double>::quiet_NaN();
}

/// One key of the log over steps.
PlotSeries series_of(const std::vector<nlohmann::json>& records, const char* key, const char* name,
                     bool dots) {
  PlotSeries series{name, {}, dots};
  for (const auto& record : records) {
    if (record.contains(key))
      series.points.push_back({number(record, "step"), number(record, key), ""});
  }
  return series;
}

bool is_all_zero(const PlotSeries& series) {
  for (const auto& point : series.points) {
    if (point.y != 0) return false;
  }
  return true;
}

}  // namespace

void draw_log(const std::filesystem::path& log, const std::filesystem::path& picture,
              const std::string& title) {
  std::vector<nlohmann::json> records;
  std::ifstream in(log);
  for (std::string line; std::getline(in, line);) {
    auto record = nlohmann::json::parse(line, nullptr, /*allow_exceptions=*/false);
    if (record.is_object()) records.push_back(std::move(record));
  }
  const auto curve = [&](const char* key, const char* name) {
    return series_of(records, key, name, /*dots=*/false);
  };
  if (curve("loss", "").points.empty()) return;
  cli::PlotPanel top1{"top-1", {curve("train_top1", "training")}};
  for (const auto& [key, name] : {std::pair{"eval_top1_r0", "evaluation, r=0"},
                                  std::pair{"eval_top1", "evaluation, merged"}}) {
    PlotSeries evaluations = series_of(records, key, name, /*dots=*/true);
    if (!evaluations.points.empty()) top1.series.push_back(std::move(evaluations));
  }
  cli::PlotPanel loss{"loss", {curve("loss", "loss")}};
  PlotSeries motion = curve("motion_loss", "motion loss");
  if (!is_all_zero(motion)) loss.series.push_back(std::move(motion));
  cli::write_plot("--out", picture, title, "step",
                  {top1, loss, {"learning rate", {curve("learning_rate", "")}}});
}

}  // namespace tome::train
