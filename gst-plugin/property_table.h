// Properties of a GObject that are members of a struct of settings: a table says all about them.
#pragma once

#include <gst/gst.h>

#include <cstddef>
#include <string>
#include <type_traits>
#include <variant>
#include <vector>

namespace tome::gst {

// When a change counts: from the next start on; at once; at once, and it can follow a controller.
inline constexpr auto kReady =
    static_cast<GParamFlags>(G_PARAM_READWRITE | G_PARAM_STATIC_STRINGS | GST_PARAM_MUTABLE_READY);
inline constexpr auto kPlaying = static_cast<GParamFlags>(
    G_PARAM_READWRITE | G_PARAM_STATIC_STRINGS | GST_PARAM_MUTABLE_PLAYING);
inline constexpr auto kControllable = static_cast<GParamFlags>(kPlaying | GST_PARAM_CONTROLLABLE);

/// An enumeration among the settings, as GObject knows it.
template <typename Settings>
struct Choice {
  const char* type;          ///< its name, which is registered
  const GEnumValue* values;  ///< ends with a null entry, and lives for ever
  int (*get)(const Settings& settings);
  void (*set)(Settings& settings, int value);
};

template <typename Settings, auto kMember>
constexpr Choice<Settings> choice(const char* type, const GEnumValue* values) {
  using Enum = std::decay_t<decltype(std::declval<Settings&>().*kMember)>;
  return {type, values,
          [](const Settings& settings) { return static_cast<int>(settings.*kMember); },
          [](Settings& settings, int value) { settings.*kMember = static_cast<Enum>(value); }};
}

/// A table of them is an array; a property's identifier is its place there, from 1. Its default is
/// what new settings have, and a text that is set to NULL has it again; an empty text is NULL.
template <typename Settings>
struct Property {
  const char* name;
  const char* blurb;
  GParamFlags flags;
  std::variant<std::string Settings::*, bool Settings::*, unsigned Settings::*, int Settings::*,
               double Settings::*, Choice<Settings>>
      member;
  double least = 0, most = 0;  ///< of a number
};

template <typename Settings>
GParamSpec* spec_of(const Property<Settings>& property) {
  const auto& [name, blurb, flags, any, least, most] = property;
  const Settings defaults;
  if (const auto* choice = std::get_if<Choice<Settings>>(&any)) {
    const GType type = g_enum_register_static(choice->type, choice->values);
    gst_type_mark_as_plugin_api(type, static_cast<GstPluginAPIFlags>(0));
    return g_param_spec_enum(name, name, blurb, type, choice->get(defaults), flags);
  }
  if (const auto* text = std::get_if<std::string Settings::*>(&any)) {
    const std::string& value = defaults.**text;
    return g_param_spec_string(name, name, blurb, value.empty() ? nullptr : value.c_str(), flags);
  }
  if (const auto* flag = std::get_if<bool Settings::*>(&any)) {
    return g_param_spec_boolean(name, name, blurb, defaults.**flag, flags);
  }
  if (const auto* number = std::get_if<unsigned Settings::*>(&any)) {
    return g_param_spec_uint(name, name, blurb, static_cast<guint>(least), static_cast<guint>(most),
                             defaults.**number, flags);
  }
  if (const auto* number = std::get_if<int Settings::*>(&any)) {
    return g_param_spec_int(name, name, blurb, static_cast<gint>(least), static_cast<gint>(most),
                            defaults.**number, flags);
  }
  return g_param_spec_double(name, name, blurb, least, most,
                             defaults.*std::get<double Settings::*>(any), flags);
}

template <typename Settings, size_t kCount>
void install_table(GObjectClass* object_class, const Property<Settings> (&table)[kCount]) {
  guint id = 0;
  for (const auto& property : table) {
    g_object_class_install_property(object_class, ++id, spec_of(property));
  }
}

template <typename S>
void take(const GValue* value, S& settings, std::string S::*member) {
  const char* text = g_value_get_string(value);
  settings.*member = text != nullptr ? text : S().*member;
}
template <typename S>
void take(const GValue* value, S& settings, bool S::*member) {
  settings.*member = g_value_get_boolean(value) != FALSE;
}
template <typename S>
void take(const GValue* value, S& settings, unsigned S::*member) {
  settings.*member = g_value_get_uint(value);
}
template <typename S>
void take(const GValue* value, S& settings, int S::*member) {
  settings.*member = g_value_get_int(value);
}
template <typename S>
void take(const GValue* value, S& settings, double S::*member) {
  settings.*member = g_value_get_double(value);
}
template <typename S>
void take(const GValue* value, S& settings, const Choice<S>& choice) {
  choice.set(settings, g_value_get_enum(value));
}

template <typename S>
void give(GValue* value, const S& settings, std::string S::*member) {
  const std::string& text = settings.*member;
  g_value_set_string(value, text.empty() ? nullptr : text.c_str());
}
template <typename S>
void give(GValue* value, const S& settings, bool S::*member) {
  g_value_set_boolean(value, settings.*member);
}
template <typename S>
void give(GValue* value, const S& settings, unsigned S::*member) {
  g_value_set_uint(value, settings.*member);
}
template <typename S>
void give(GValue* value, const S& settings, int S::*member) {
  g_value_set_int(value, settings.*member);
}
template <typename S>
void give(GValue* value, const S& settings, double S::*member) {
  g_value_set_double(value, settings.*member);
}
template <typename S>
void give(GValue* value, const S& settings, const Choice<S>& choice) {
  g_value_set_enum(value, choice.get(settings));
}

/// @return false if the table has no property of this identifier
template <typename Settings, size_t kCount>
bool set_in_table(const Property<Settings> (&table)[kCount], Settings& settings, guint id,
                  const GValue* value) {
  if (id == 0 || id > kCount) return false;
  std::visit([&](const auto& member) { take(value, settings, member); }, table[id - 1].member);
  return true;
}

/// @return false if the table has no property of this identifier
template <typename Settings, size_t kCount>
bool get_from_table(const Property<Settings> (&table)[kCount], const Settings& settings, guint id,
                    GValue* value) {
  if (id == 0 || id > kCount) return false;
  std::visit([&](const auto& member) { give(value, settings, member); }, table[id - 1].member);
  return true;
}

template <typename S, typename Value>
bool is_equal(const S& one, const S& other, Value S::*member) {
  return one.*member == other.*member;
}
template <typename S>
bool is_equal(const S& one, const S& other, const Choice<S>& choice) {
  return choice.get(one) == choice.get(other);
}

/// Names of the properties that differ and count from the next start only.
template <typename Settings, size_t kCount>
std::vector<const char*> late_in_table(const Property<Settings> (&table)[kCount],
                                       const Settings& before, const Settings& after) {
  std::vector<const char*> names;
  for (const auto& property : table) {
    if ((property.flags & GST_PARAM_MUTABLE_PLAYING) != 0) continue;
    const bool same = std::visit(
        [&](const auto& member) { return is_equal(before, after, member); }, property.member);
    if (!same) names.push_back(property.name);
  }
  return names;
}

inline GQuark late_mark(const char* name) {
  return g_quark_from_string((std::string("tome-late-") + name).c_str());
}

/// Says in the log, and for each property once between two starts on the bus, that what was changed
/// counts from the next start only: it reads back as if it counted. Any thread.
inline void notice_late_setting(GObject* object, const char* name, GstDebugCategory* category) {
  GST_CAT_WARNING_OBJECT(category, object, "%s has no effect before the element was in READY",
                         name);
  if (!g_object_replace_qdata(object, late_mark(name), nullptr, GINT_TO_POINTER(1), nullptr,
                              nullptr)) {
    return;
  }
  gst_element_message_full(
      GST_ELEMENT(object), GST_MESSAGE_WARNING, GST_LIBRARY_ERROR, GST_LIBRARY_ERROR_SETTINGS,
      g_strdup_printf("%s was set too late: it has no effect before the element was in READY",
                      name),
      nullptr, __FILE__, "notice_late_setting", __LINE__);
}

/// At a start: what is changed from now on is told of again.
inline void forget_late_settings(GObject* object) {
  guint count = 0;
  GParamSpec** specs = g_object_class_list_properties(G_OBJECT_GET_CLASS(object), &count);
  for (guint i = 0; i < count; ++i) {
    g_object_set_qdata(object, late_mark(specs[i]->name), nullptr);
  }
  g_free(specs);
}

}  // namespace tome::gst
