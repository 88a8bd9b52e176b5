// The names of the classes.
#pragma once

#include <filesystem>
#include <optional>
#include <string>
#include <string_view>
#include <vector>

#include "checkpoint/config_object.h"

namespace tome {

/// One label a line, UTF-8; a byte-order mark, CRs and empty lines at the end are ignored. Makes no
/// strings before it knows that they are as many as `classes`.
/// @throws Error kNotFound, kRead, kFormat (empty, not `classes` labels, not UTF-8, a control
///   character, an empty line in between)
std::vector<std::string> read_labels_file(const std::filesystem::path& path, int64_t classes);

/// The labels of a model folder: `labels_file`, else config.json's `id2label`, `label_names`,
/// `pretrained_cfg.label_names`, `labels`, else the folder's labels.txt, else "class 0", "class 1",
/// … So is a class called to which config.json gives an empty name, as transformers and timm let
/// it.
/// @throws Error kFormat that names the source if it does not have exactly `classes` labels, or one
///   that is_one_line refuses: labels end up in JSON, in GStreamer's strings and in lines
std::vector<std::string> read_labels(const std::filesystem::path& folder,
                                     const ConfigObject& config,
                                     const std::optional<std::filesystem::path>& labels_file,
                                     int64_t classes);

}  // namespace tome
