#include "publish_properties.h"

#include <algorithm>
#include <array>
#include <string>

namespace tome::gst {
namespace {

// A property that is a member of PublishSettings of the same kind. Numbers from 1, in this order.
struct TextProperty {
  const char* name;
  std::string PublishSettings::*member;
  const char* help;
};
struct FlagProperty {
  const char* name;
  bool PublishSettings::*member;
  const char* help;
};
struct NumberProperty {
  const char* name;
  unsigned PublishSettings::*member;
  guint least, most;
  const char* help;
};

constexpr std::array kTexts = {
    TextProperty{"location", &PublishSettings::location,
                 "File to write to; unset: standard output"},
    TextProperty{"stream", &PublishSettings::stream_name,
                 "Name of the stream, for the key `stream`; unset: the element's name"},
    TextProperty{"address", &PublishSettings::address,
                 "Broker, as host or host:port; of Kafka several by commas"},
    TextProperty{"topic", &PublishSettings::topic, "Topic of the messages"},
    TextProperty{"client-id", &PublishSettings::client_id,
                 "Name at the broker; unset: one that the library makes up"},
    TextProperty{"username", &PublishSettings::username, "User at the broker; unset: nobody"},
    TextProperty{"password-file", &PublishSettings::password_file,
                 "File whose first line is the user's password"},
    TextProperty{"ca-file", &PublishSettings::ca_file,
                 "Certificates (PEM) that the broker's is signed by; unset: no TLS"},
    TextProperty{"cert-file", &PublishSettings::cert_file,
                 "Certificate (PEM) that this client shows to the broker; unset: none"},
    TextProperty{"key-file", &PublishSettings::key_file,
                 "Private key (PEM, not encrypted) of cert-file; may be the same file"},
    TextProperty{"config", &PublishSettings::config,
                 "Further settings of librdkafka, as key=value,key=value"},
};
constexpr std::array kFlags = {
    FlagProperty{"append", &PublishSettings::append,
                 "Add to the file at location instead of starting it anew"},
    FlagProperty{"held", &PublishSettings::held,
                 "Also publish results that are held from an earlier frame (age above 0)"},
    FlagProperty{"progress", &PublishSettings::progress,
                 "Keep a line with frames, frames/s and the leading tag on stderr, when that is a "
                 "terminal"},
};

constexpr std::array kNumbers = {
    NumberProperty{"mqtt-qos", &PublishSettings::qos, 0, 2,
                   "MQTT's quality of service: 0 at most once, 1 at least once, 2 exactly once "
                   "while the connection lasts"},
    NumberProperty{"queue-size", &PublishSettings::queue_size, 1, 1000000,
                   "Most messages that wait for the broker; the oldest are dropped for newer ones"},
    NumberProperty{"drain-timeout", &PublishSettings::drain_timeout, 0, 3600000,
                   "Longest wait for the broker at the end of the stream, ms"},
};

constexpr guint kMethod = 1;
constexpr guint kFirstText = kMethod + 1;
constexpr guint kFirstFlag = kFirstText + kTexts.size();
constexpr guint kFirstNumber = kFirstFlag + kFlags.size();
static_assert(kFirstNumber + kNumbers.size() <= kPublishPropertiesEnd);

constexpr auto kReady =
    static_cast<GParamFlags>(G_PARAM_READWRITE | G_PARAM_STATIC_STRINGS | GST_PARAM_MUTABLE_READY);

GType method_type() {
  static const std::array<GEnumValue, 4> values = {{
      {static_cast<gint>(PublishMethod::kFile), "A file or standard output", "file"},
      {static_cast<gint>(PublishMethod::kMqtt), "An MQTT broker", "mqtt"},
      {static_cast<gint>(PublishMethod::kKafka), "Kafka", "kafka"},
      {0, nullptr, nullptr},
  }};
  static const GType type = [] {
    const GType made = g_enum_register_static("GstTomePublishMethod", values.data());
    gst_type_mark_as_plugin_api(made, static_cast<GstPluginAPIFlags>(0));
    return made;
  }();
  return type;
}

/// The entry of `table` whose first one has identifier `first`; null if it is not there.
template <typename Table>
auto entry(const Table& table, guint first, guint id) -> decltype(table.data()) {
  return id >= first && id - first < table.size() ? &table[id - first] : nullptr;
}

}  // namespace

void install_publish_properties(GObjectClass* klass) {
  g_object_class_install_property(
      klass, kMethod,
      g_param_spec_enum("method", "method", "Where the lines go to", method_type(),
                        static_cast<gint>(PublishMethod::kFile), kReady));
  guint id = kFirstText;
  for (const auto& text : kTexts) {
    g_object_class_install_property(
        klass, id++, g_param_spec_string(text.name, text.name, text.help, nullptr, kReady));
  }
  for (const auto& flag : kFlags) {
    g_object_class_install_property(
        klass, id++, g_param_spec_boolean(flag.name, flag.name, flag.help, FALSE, kReady));
  }
  const PublishSettings defaults;
  for (const auto& number : kNumbers) {
    g_object_class_install_property(
        klass, id++,
        g_param_spec_uint(number.name, number.name, number.help, number.least, number.most,
                          defaults.*number.member, kReady));
  }
}

bool set_publish_property(PublishSettings& settings, guint id, const GValue* value) {
  if (const auto* text = entry(kTexts, kFirstText, id)) {
    const char* given = g_value_get_string(value);
    settings.*text->member = given != nullptr ? given : "";
  } else if (const auto* flag = entry(kFlags, kFirstFlag, id)) {
    settings.*flag->member = g_value_get_boolean(value) != FALSE;
  } else if (const auto* number = entry(kNumbers, kFirstNumber, id)) {
    settings.*number->member = g_value_get_uint(value);
  } else if (id == kMethod) {
    settings.method = static_cast<PublishMethod>(g_value_get_enum(value));
  } else {
    return false;
  }
  return true;
}

bool get_publish_property(const PublishSettings& settings, guint id, GValue* value) {
  if (const auto* text = entry(kTexts, kFirstText, id)) {
    const std::string& kept = settings.*text->member;
    g_value_set_string(value, kept.empty() ? nullptr : kept.c_str());
  } else if (const auto* flag = entry(kFlags, kFirstFlag, id)) {
    g_value_set_boolean(value, settings.*flag->member ? TRUE : FALSE);
  } else if (const auto* number = entry(kNumbers, kFirstNumber, id)) {
    g_value_set_uint(value, settings.*number->member);
  } else if (id == kMethod) {
    g_value_set_enum(value, static_cast<gint>(settings.method));
  } else {
    return false;
  }
  return true;
}

}  // namespace tome::gst
