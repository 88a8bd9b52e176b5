// What GLib and GStreamer complain about.
#pragma once

#include <glib.h>

#include <atomic>

namespace tome::testing {

/// How many critical messages GLib is given while it lives.
class Criticals {
 public:
  Criticals() : before_(g_log_set_default_handler(count, this)) {}
  ~Criticals() { g_log_set_default_handler(before_, nullptr); }
  Criticals(const Criticals&) = delete;
  Criticals& operator=(const Criticals&) = delete;

  int number() const { return number_; }

 private:
  static void count(const char*, GLogLevelFlags level, const char*, gpointer self) {
    if ((level & G_LOG_LEVEL_CRITICAL) != 0) ++static_cast<Criticals*>(self)->number_;
  }

  GLogFunc before_;
  std::atomic<int> number_ = 0;
};

}  // namespace tome::testing
