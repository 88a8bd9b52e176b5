// Owning pointers for GStreamer and GLib handles.
#pragma once

#include <gst/gst.h>

#include <memory>

namespace tome::gst {

/// Gives each kind of handle back in its own way.
struct Release {
  void operator()(GstBuffer* buffer) const { gst_buffer_unref(buffer); }
  void operator()(GstEvent* event) const { gst_event_unref(event); }
  void operator()(GstQuery* query) const { gst_query_unref(query); }
  void operator()(GstAllocator* allocator) const { gst_object_unref(allocator); }
  void operator()(GstCaps* caps) const { gst_caps_unref(caps); }
  void operator()(GstStructure* structure) const { gst_structure_free(structure); }
  void operator()(GstElement* element) const { gst_object_unref(element); }
  void operator()(GstPad* pad) const { gst_object_unref(pad); }
  void operator()(GstBus* bus) const { gst_object_unref(bus); }
  void operator()(GstClock* clock) const { gst_object_unref(clock); }
  void operator()(GstContext* context) const { gst_context_unref(context); }
  void operator()(GstMessage* message) const { gst_message_unref(message); }
  void operator()(GError* error) const { g_error_free(error); }
  void operator()(char* text) const { g_free(text); }
};

template <typename T>
using Ptr = std::unique_ptr<T, Release>;

/// An element that others may let go of meanwhile. Any thread.
class WeakElement {
 public:
  explicit WeakElement(GstElement* element) { g_weak_ref_init(&element_, element); }
  ~WeakElement() { g_weak_ref_clear(&element_); }
  WeakElement(const WeakElement&) = delete;
  WeakElement& operator=(const WeakElement&) = delete;

  /// Null if it is gone.
  Ptr<GstElement> get() {
    return Ptr<GstElement>(static_cast<GstElement*>(g_weak_ref_get(&element_)));
  }

 private:
  GWeakRef element_{};
};

/// A GValue that is unset when it goes out of scope.
class Value {
 public:
  explicit Value(GType type) { g_value_init(&value_, type); }
  ~Value() {
    if (G_VALUE_TYPE(&value_) != 0) g_value_unset(&value_);
  }
  Value(const Value&) = delete;
  Value& operator=(const Value&) = delete;

  GValue* get() { return &value_; }

 private:
  GValue value_ = G_VALUE_INIT;
};

}  // namespace tome::gst
