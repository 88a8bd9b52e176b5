// What the properties of tomepublish say.
#pragma once

#include <string>

namespace tome::gst {

enum class PublishMethod { kFile, kMqtt, kKafka };

struct PublishSettings {
  PublishMethod method = PublishMethod::kFile;
  std::string stream_name;  ///< empty: the element's name
  bool held = false;
  bool progress = false;

  // Of files.
  std::string location;  ///< empty: standard output
  bool append = false;

  // Of brokers; what is empty was not set.
  std::string address;
  std::string topic;
  std::string client_id;
  std::string username;
  std::string password_file;
  std::string ca_file;
  std::string cert_file, key_file;
  unsigned queue_size = 1000;
  unsigned drain_timeout = 5000;  ///< ms

  unsigned qos = 1;    ///< of MQTT
  std::string config;  ///< of Kafka
};

}  // namespace tome::gst
