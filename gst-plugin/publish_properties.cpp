#include "publish_properties.h"

#include <iterator>

#include "property_table.h"

namespace tome::gst {
namespace {

constexpr GEnumValue kMethods[] = {
    {static_cast<int>(PublishMethod::kFile), "A file or standard output", "file"},
    {static_cast<int>(PublishMethod::kMqtt), "An MQTT broker", "mqtt"},
    {static_cast<int>(PublishMethod::kKafka), "Kafka", "kafka"},
    {0, nullptr, nullptr}};

using S = PublishSettings;

constexpr Property<S> kTable[] = {
    {"method", "Where the lines go to", kReady,
     choice<S, &S::method>("GstTomePublishMethod", kMethods)},
    {"location", "File to write to; unset: standard output", kReady, &S::location},
    {"stream", "Name of the stream, for the key `stream`; unset: the element's name", kReady,
     &S::stream_name},
    {"address", "Broker, as host or host:port; of Kafka several by commas", kReady, &S::address},
    {"topic", "Topic of the messages", kReady, &S::topic},
    {"client-id", "Name at the broker; unset: one that the library makes up", kReady,
     &S::client_id},
    {"username", "User at the broker; unset: nobody", kReady, &S::username},
    {"password-file", "File whose first line is the user's password", kReady, &S::password_file},
    {"ca-file", "Certificates (PEM) that the broker's is signed by; unset: no TLS", kReady,
     &S::ca_file},
    {"cert-file", "Certificate (PEM) that this client shows to the broker; unset: none", kReady,
     &S::cert_file},
    {"key-file", "Private key (PEM, not encrypted) of cert-file; may be the same file", kReady,
     &S::key_file},
    {"config", "Further settings of librdkafka, as key=value,key=value", kReady, &S::config},
    {"append", "Add to the file at location instead of starting it anew", kReady, &S::append},
    {"held", "Also publish results that are held from an earlier frame (age above 0)", kReady,
     &S::held},
    {"progress",
     "Keep a line with frames, frames/s and the leading tag on stderr, when that is a "
     "terminal",
     kReady, &S::progress},
    {"mqtt-qos",
     "MQTT's quality of service: 0 at most once, 1 at least once, 2 exactly once "
     "while the connection lasts",
     kReady, &S::qos, 0, 2},
    {"queue-size", "Most messages that wait for the broker; the oldest are dropped for newer ones",
     kReady, &S::queue_size, 1, 1000000},
    {"drain-timeout", "Longest wait for the broker at the end of the stream, ms", kReady,
     &S::drain_timeout, 0, 3600000},
};
static_assert(std::size(kTable) < kPublishPropertiesEnd);

}  // namespace

void install_publish_properties(GObjectClass* klass) { install_table(klass, kTable); }

bool set_publish_property(PublishSettings& settings, guint id, const GValue* value) {
  return set_in_table(kTable, settings, id, value);
}

bool get_publish_property(const PublishSettings& settings, guint id, GValue* value) {
  return get_from_table(kTable, settings, id, value);
}

std::vector<const char*> changed_for_next_start(const PublishSettings& before,
                                                const PublishSettings& after) {
  return late_in_table(kTable, before, after);
}

}  // namespace tome::gst
