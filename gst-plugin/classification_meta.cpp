#include "classification_meta.h"

namespace tome::gst {
namespace {

constexpr const char* kResults = "results";

void set_array(GstStructure* structure, const char* field, Value& array) {
  gst_structure_set_value(structure, field, array.get());
}

void append_int(Value& array, int number) {
  Value value(G_TYPE_INT);
  g_value_set_int(value.get(), number);
  gst_value_array_append_and_take_value(array.get(), value.get());
}

void append_string(Value& array, const std::string& text) {
  Value value(G_TYPE_STRING);
  g_value_set_string(value.get(), text.c_str());
  gst_value_array_append_and_take_value(array.get(), value.get());
}

void append_double(Value& array, double number) {
  Value value(G_TYPE_DOUBLE);
  g_value_set_double(value.get(), number);
  gst_value_array_append_and_take_value(array.get(), value.get());
}

void append_results(Value& array, std::span<const Classification> results) {
  for (const auto& result : results) {
    Value value(GST_TYPE_STRUCTURE);
    g_value_take_boxed(value.get(), to_structure(result).release());
    gst_value_array_append_and_take_value(array.get(), value.get());
  }
}

const GValue* array_field(const GstStructure* structure, const char* field) {
  const GValue* value = gst_structure_get_value(structure, field);
  return value != nullptr && GST_VALUE_HOLDS_ARRAY(value) ? value : nullptr;
}

/// Element `i` of an array if there is one and it is of `type`.
const GValue* element(const GValue* array, unsigned i, GType type) {
  if (array == nullptr || i >= gst_value_array_get_size(array)) return nullptr;
  const GValue* value = gst_value_array_get_value(array, i);
  return G_VALUE_HOLDS(value, type) ? value : nullptr;
}

std::optional<std::array<int, 4>> read_region(const GstStructure* structure) {
  const GValue* array = array_field(structure, "region");
  if (array == nullptr || gst_value_array_get_size(array) != 4) return std::nullopt;
  std::array<int, 4> region{};
  for (unsigned i = 0; i < 4; ++i) {
    const GValue* value = element(array, i, G_TYPE_INT);
    if (value == nullptr) return std::nullopt;
    region[i] = g_value_get_int(value);
  }
  return region;
}

/// Nothing where an older producer did not write the fields.
std::optional<std::array<int, 2>> read_frame_size(const GstStructure* structure) {
  std::array<int, 2> size{};
  if (gst_structure_get_int(structure, "frame-width", size.data()) == FALSE ||
      gst_structure_get_int(structure, "frame-height", &size[1]) == FALSE) {
    return std::nullopt;
  }
  return size;
}

std::optional<DetectedObject> read_object(const GstStructure* structure) {
  const char* type = gst_structure_get_string(structure, "region-type");
  DetectedObject object{type != nullptr ? type : "", 0};
  const bool has_id = gst_structure_get_int64(structure, "region-id", &object.id) != FALSE;
  return type != nullptr || has_id ? std::optional(object) : std::nullopt;
}

std::vector<Tag> read_tags(const GstStructure* structure) {
  const GValue* ids = array_field(structure, "label-ids");
  const GValue* labels = array_field(structure, "labels");
  const GValue* scores = array_field(structure, "scores");
  std::vector<Tag> tags(scores != nullptr ? gst_value_array_get_size(scores) : 0);
  for (unsigned i = 0; i < tags.size(); ++i) {
    if (const GValue* id = element(ids, i, G_TYPE_INT)) tags[i].id = g_value_get_int(id);
    if (const GValue* label = element(labels, i, G_TYPE_STRING)) {
      if (const char* text = g_value_get_string(label)) tags[i].label = text;
    }
    if (const GValue* score = element(scores, i, G_TYPE_DOUBLE)) {
      tags[i].score = g_value_get_double(score);
    }
  }
  return tags;
}

}  // namespace

bool register_classification_meta() {
  static const gchar* no_tags[] = {nullptr};
  if (gst_meta_get_info(kClassificationName) != nullptr) return true;
  return gst_meta_register_custom(kClassificationName, no_tags, nullptr, nullptr, nullptr) !=
         nullptr;
}

Ptr<GstStructure> to_structure(const Classification& result, const char* name) {
  Ptr<GstStructure> structure(gst_structure_new(
      name, "model", G_TYPE_STRING, result.model.c_str(), "clip-start-pts", G_TYPE_UINT64,
      result.clip_start, "clip-end-pts", G_TYPE_UINT64, result.clip_end, "n-frames", G_TYPE_UINT,
      result.frames, "age", G_TYPE_UINT, result.age, "tokens-in", G_TYPE_UINT, result.tokens_in,
      "tokens-out", G_TYPE_UINT, result.tokens_out, nullptr));
  if (!result.element.empty()) {
    gst_structure_set(structure.get(), "element", G_TYPE_STRING, result.element.c_str(), nullptr);
  }
  Value region(GST_TYPE_ARRAY);
  if (result.region) {
    for (const int number : *result.region) append_int(region, number);
  }
  if (result.frame_size) {
    gst_structure_set(structure.get(), "frame-width", G_TYPE_INT, (*result.frame_size)[0],
                      "frame-height", G_TYPE_INT, (*result.frame_size)[1], nullptr);
  }
  if (result.object) {
    gst_structure_set(structure.get(), "region-type", G_TYPE_STRING, result.object->type.c_str(),
                      "region-id", G_TYPE_INT64, result.object->id, nullptr);
  }
  Value ids(GST_TYPE_ARRAY);
  Value labels(GST_TYPE_ARRAY);
  Value scores(GST_TYPE_ARRAY);
  for (const auto& tag : result.tags) {
    append_int(ids, static_cast<int>(tag.id));
    append_string(labels, tag.label);
    append_double(scores, tag.score);
  }
  set_array(structure.get(), "region", region);
  set_array(structure.get(), "label-ids", ids);
  set_array(structure.get(), "labels", labels);
  set_array(structure.get(), "scores", scores);
  return structure;
}

Classification from_structure(const GstStructure* structure) {
  Classification result;
  if (const char* model = gst_structure_get_string(structure, "model")) result.model = model;
  if (const char* name = gst_structure_get_string(structure, "element")) result.element = name;
  result.region = read_region(structure);
  result.frame_size = read_frame_size(structure);
  result.object = read_object(structure);
  gst_structure_get_uint64(structure, "clip-start-pts", &result.clip_start);
  gst_structure_get_uint64(structure, "clip-end-pts", &result.clip_end);
  gst_structure_get_uint(structure, "n-frames", &result.frames);
  gst_structure_get_uint(structure, "age", &result.age);
  gst_structure_get_uint(structure, "tokens-in", &result.tokens_in);
  gst_structure_get_uint(structure, "tokens-out", &result.tokens_out);
  result.tags = read_tags(structure);
  return result;
}

Ptr<GstStructure> results_structure(std::span<const Classification> results) {
  Ptr<GstStructure> structure(gst_structure_new_empty(kClassificationName));
  Value array(GST_TYPE_ARRAY);
  append_results(array, results);
  set_array(structure.get(), kResults, array);
  return structure;
}

std::vector<Classification> results_of(const GstStructure* structure) {
  std::vector<Classification> results;
  const GValue* array = array_field(structure, kResults);
  const unsigned count = array != nullptr ? gst_value_array_get_size(array) : 0;
  for (unsigned i = 0; i < count; ++i) {
    if (const GValue* value = element(array, i, GST_TYPE_STRUCTURE)) {
      results.push_back(from_structure(gst_value_get_structure(value)));
    }
  }
  return results;
}

void attach_results(GstBuffer* buffer, std::span<const Classification> results) {
  GstCustomMeta* meta = gst_buffer_get_custom_meta(buffer, kClassificationName);
  if (meta == nullptr) meta = gst_buffer_add_custom_meta(buffer, kClassificationName);
  if (meta == nullptr) return;
  GstStructure* structure = gst_custom_meta_get_structure(meta);
  Value array(GST_TYPE_ARRAY);
  if (const GValue* before = array_field(structure, kResults)) {
    g_value_copy(before, array.get());
  }
  append_results(array, results);
  set_array(structure, kResults, array);
}

std::vector<Classification> results_of(GstBuffer* buffer) {
  GstCustomMeta* meta = gst_buffer_get_custom_meta(buffer, kClassificationName);
  return meta != nullptr ? results_of(gst_custom_meta_get_structure(meta))
                         : std::vector<Classification>();
}

}  // namespace tome::gst
