// What a label says of the mirrored picture.
#pragma once

#include <cstdint>
#include <string>
#include <vector>

namespace tome::train {

/// The label each label turns into when the picture is mirrored: all its "left" and "right" swap,
/// in lower case, capitals or with a capital letter ("from left to right" becomes "from right to
/// left"), if there is such a label; the others stay. Words count that begin with these letters:
/// "bright" is none.
std::vector<int64_t> mirrored_labels(const std::vector<std::string>& labels);

/// Those with a word left or right that stay for want of a partner.
std::vector<std::string> labels_without_partner(const std::vector<std::string>& labels);

}  // namespace tome::train
