#include "publish_backend.h"

#include <utility>

#include "broker_publisher.h"
#include "broker_settings.h"
#include "line_writer.h"

namespace tome::gst {
namespace {

[[maybe_unused, noreturn]] void refuse(const char* method, const char* library) {
  throw PublishError(GST_RESOURCE_ERROR_SETTINGS,
                     std::string("method: found ") + method +
                         ", expected another: this build of tomepublish is without " + library);
}

std::unique_ptr<BrokerLink> make_link(const PublishSettings& settings) {
  if (settings.method == PublishMethod::kMqtt) {
#ifdef TOME_HAVE_MQTT
    return make_mqtt_link(settings);
#else
    refuse("mqtt", "libmosquitto");
#endif
  }
#ifdef TOME_HAVE_KAFKA
  return make_kafka_link(settings);
#else
  refuse("kafka", "librdkafka");
#endif
}

}  // namespace

std::shared_ptr<PublishBackend> make_backend(const PublishSettings& settings,
                                             PublishWarning warning, BegunFiles& begun) {
  check_method(settings);
  if (settings.method == PublishMethod::kFile) {
    return std::make_shared<LineWriter>(settings.location, settings.append, begun);
  }
  return std::make_shared<BrokerPublisher>(make_link(settings), settings, std::move(warning));
}

}  // namespace tome::gst
