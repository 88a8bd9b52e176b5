// What GLib and GStreamer complain about.
#pragma once

#include <glib.h>

#include <atomic>

namespace tome::testing {

/// How many critical messages, and how many warnings, GLib is given while it lives.
class Criticals {
 public:
  Criticals() : before_(g_log_set_default_handler(count, this)) {}
  ~Criticals() { g_log_set_default_handler(before_, nullptr); }
  Criticals(const Criticals&) = delete;
  Criticals& operator=(const Criticals&) = delete;

  int number() const { return number_; }
  int warnings() const { return warnings_; }

 private:
  static void count(const char*, GLogLevelFlags level, const char*, gpointer self) {
    if ((level & G_LOG_LEVEL_CRITICAL) != 0) ++static_cast<Criticals*>(self)->number_;
    if ((level & G_LOG_LEVEL_WARNING) != 0) ++static_cast<Criticals*>(self)->warnings_;
  }

  GLogFunc before_;
  std::atomic<int> number_ = 0;
  std::atomic<int> warnings_ = 0;
};

}  // namespace tome::testing
