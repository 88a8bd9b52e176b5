// What an element warns of in GStreamer's log.
#pragma once

#include <gst/gst.h>

#include <mutex>
#include <string>
#include <utility>

namespace tome::testing {

/// Keeps the warnings of one category while it lives.
class LoggedWarnings {
 public:
  explicit LoggedWarnings(std::string category) : category_(std::move(category)) {
    gst_debug_set_threshold_for_name(category_.c_str(), GST_LEVEL_WARNING);
    gst_debug_add_log_function(keep, this, nullptr);
  }
  ~LoggedWarnings() {
    gst_debug_remove_log_function_by_data(this);
    gst_debug_unset_threshold_for_name(category_.c_str());
  }
  LoggedWarnings(const LoggedWarnings&) = delete;
  LoggedWarnings& operator=(const LoggedWarnings&) = delete;

  std::string text() const {
    const std::scoped_lock lock(mutex_);
    return text_;
  }

 private:
  static void keep(GstDebugCategory* category, GstDebugLevel level, const char*, const char*, int,
                   GObject*, GstDebugMessage* message, gpointer data) {
    auto* self = static_cast<LoggedWarnings*>(data);
    if (level != GST_LEVEL_WARNING || self->category_ != gst_debug_category_get_name(category)) {
      return;
    }
    const std::scoped_lock lock(self->mutex_);
    self->text_ += std::string(gst_debug_message_get(message)) + "\n";
  }

  const std::string category_;
  mutable std::mutex mutex_;
  std::string text_;
};

}  // namespace tome::testing
