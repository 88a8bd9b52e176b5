// The names of the classes.
#pragma once

#include <filesystem>
#include <optional>
#include <string>
#include <vector>

#include "checkpoint/config_object.h"

namespace tome {

/// Whether a text can be a label: labels end up in JSON and in GStreamer's strings, both of which
/// must be UTF-8, without NUL.
bool is_utf8(const std::string& text);

/// One label a line, UTF-8; a byte-order mark, CRs and empty lines at the end are ignored.
/// @throws Error kNotFound, kRead, kFormat (empty, not UTF-8, an empty line in between)
std::vector<std::string> read_labels_file(const std::filesystem::path& path);

/// The labels of a model folder: `labels_file`, else config.json's `id2label`, `label_names`,
/// `pretrained_cfg.label_names`, else the folder's labels.txt, else "class 0", "class 1", …
/// @throws Error kFormat that names the source if it does not have exactly `classes` labels
std::vector<std::string> read_labels(const std::filesystem::path& folder,
                                     const ConfigObject& config,
                                     const std::optional<std::filesystem::path>& labels_file,
                                     int64_t classes);

}  // namespace tome
