#include "train/mirrored_labels.h"

#include <algorithm>
#include <array>
#include <cctype>
#include <string_view>
#include <utility>

namespace tome::train {
namespace {

constexpr std::array<std::pair<std::string_view, std::string_view>, 3> kWords{
    {{"left", "right"}, {"Left", "Right"}, {"LEFT", "RIGHT"}}};

bool is_letter(char c) { return std::isalpha(static_cast<unsigned char>(c)) != 0; }
bool is_lower(char c) { return std::islower(static_cast<unsigned char>(c)) != 0; }

/// "turn-left", "turnLeft"; not "bright".
bool begins_word(const std::string& text, size_t place) {
  if (place == 0 || !is_letter(text[place - 1])) return true;
  return is_lower(text[place - 1]) && !is_lower(text[place]);
}

std::string mirrored(const std::string& label) {
  std::string out;
  for (size_t i = 0; i < label.size();) {
    std::string_view found, other;
    for (const auto& [left, right] : kWords) {
      for (const auto& [from, to] : {std::pair(left, right), std::pair(right, left)}) {
        if (label.compare(i, from.size(), from) == 0) found = from, other = to;
      }
    }
    if (found.empty() || !begins_word(label, i)) {
      out += label[i++];
    } else {
      out += other;
      i += found.size();
    }
  }
  return out;
}

}  // namespace

std::vector<int64_t> mirrored_labels(const std::vector<std::string>& labels) {
  std::vector<int64_t> out;
  for (const std::string& label : labels) {
    const auto found = std::find(labels.begin(), labels.end(), mirrored(label));
    const auto own = static_cast<int64_t>(out.size());
    out.push_back(found == labels.end() ? own : found - labels.begin());
  }
  return out;
}

std::vector<std::string> labels_without_partner(const std::vector<std::string>& labels) {
  std::vector<std::string> out;
  for (const std::string& label : labels) {
    if (std::find(labels.begin(), labels.end(), mirrored(label)) == labels.end()) {
      out.push_back(label);
    }
  }
  return out;
}

}  // namespace tome::train
