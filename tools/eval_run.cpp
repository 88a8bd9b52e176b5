#include "eval_run.h"

#include <algorithm>
#include <cmath>
#include <iomanip>
#include <numeric>
#include <sstream>
#include <utility>

#include "forward_cost.h"
#include "forward_settings.h"

namespace tome::cli {
namespace {

/// A whole number where it is one.
nlohmann::ordered_json mean(int64_t sum, int64_t count) {
  if (sum % count == 0) return sum / count;
  return static_cast<double>(sum) / static_cast<double>(count);
}

}  // namespace

void EvalRun::add_cost(const ClipBatchOutput& output, const ViTConfig& config, int64_t frames) {
  for (size_t i = 0; i < output.r.size(); ++i) {
    const std::vector<int64_t>& r = output.r[i];
    const int64_t in_blocks = std::accumulate(r.begin(), r.end(), int64_t{0});
    const int64_t before = output.tokens_in - output.tokens_out[i] - in_blocks;
    gflops_ += forward_gflops(config, r, frames, before);
    tokens_in_ += output.tokens_in;
    tokens_last_ += output.tokens_out[i];
    r_.resize(r.size());
    for (size_t block = 0; block < r.size(); ++block) r_[block] += r[block];
  }
  requests_ += static_cast<int64_t>(output.r.size());
}

void EvalRun::add_answer(std::vector<ResultTag> best, int64_t truth) {
  const auto is_right = [&](const ResultTag& tag) { return tag.id == truth; };
  leading_.push_back(best.empty() ? -1 : best.front().id);
  top1_ += leading_.back() == truth ? 1 : 0;
  top5_ += std::any_of(best.begin(), best.end(), is_right) ? 1 : 0;
  tags.push_back(std::move(best));
  ++images;
}

double EvalRun::percent(int64_t part) const {
  return 100.0 * static_cast<double>(part) / static_cast<double>(images);
}

double EvalRun::top1_error() const {
  return std::sqrt(top1() * (100 - top1()) / static_cast<double>(images));
}

double EvalRun::gflops() const { return gflops_ / static_cast<double>(requests_); }

double EvalRun::agreement(const EvalRun& other) const {
  int64_t equal = 0;
  for (size_t i = 0; i < leading_.size(); ++i) {
    equal += leading_[i] >= 0 && leading_[i] == other.leading_[i] ? 1 : 0;
  }
  return percent(equal);
}

void EvalRun::write_to(nlohmann::ordered_json& row) const {
  row["images"] = images;
  row["top1"] = top1();
  row["top1_standard_error"] = top1_error();
  row["top5"] = percent(top5_);
  row["tokens_in"] = mean(tokens_in_, requests_);
  row["tokens_last"] = mean(tokens_last_, requests_);
  row["r_per_block"] = nlohmann::ordered_json::array();
  for (const int64_t sum : r_) row["r_per_block"].push_back(mean(sum, requests_));
  row["gflops"] = gflops();
  row["images_per_s"] = static_cast<double>(images) / seconds;
}

std::string EvalRun::header() {
  std::ostringstream text;
  text << std::left << std::setw(14) << "r" << std::setw(6) << "prec" << std::right << std::setw(8)
       << "top-1" << std::setw(6) << "+-" << std::setw(8) << "top-5" << std::setw(10) << "as r=0"
       << std::setw(8) << "tokens" << std::setw(10) << "GFLOPs" << std::setw(11) << "images/s";
  return text.str();
}

std::string EvalRun::line(std::optional<double> agreed) const {
  std::ostringstream text;
  text << std::fixed << std::setprecision(1) << std::left << std::setw(14) << spec << std::setw(6)
       << precision << std::right << std::setw(8) << top1() << std::setw(6) << top1_error()
       << std::setw(8) << percent(top5_) << std::setw(10);
  if (agreed) {
    text << *agreed;
  } else {
    text << "-";
  }
  const bool whole = tokens_last_ % requests_ == 0;
  text << std::setw(8) << std::setprecision(whole ? 0 : 1)
       << static_cast<double>(tokens_last_) / static_cast<double>(requests_) << std::setw(10)
       << std::setprecision(2) << gflops() << std::setw(11) << std::setprecision(1)
       << static_cast<double>(images) / seconds;
  return text.str();
}

}  // namespace tome::cli
