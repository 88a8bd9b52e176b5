// GStreamer's leaks tracer finds nothing of ours alive when the pipelines are gone.
#include <gst/gst.h>
// Needs the one above.
#include <gst/gsttracer.h>

#include "element_fixture.h"

namespace tome::testing {
namespace {

using Leaks = ElementTest;

/// What the tracer says is alive: one text for each object.
std::vector<std::string> live_objects() {
  std::vector<std::string> found;
  GList* tracers = gst_tracing_get_active_tracers();
  for (GList* one = tracers; one != nullptr; one = one->next) {
    if (std::string(G_OBJECT_TYPE_NAME(one->data)).find("Leaks") == std::string::npos) continue;
    GstStructure* info = nullptr;
    g_signal_emit_by_name(one->data, "get-live-objects", &info);
    const Ptr<GstStructure> owned(info);
    const GValue* list = gst_structure_get_value(info, "live-objects-list");
    for (guint i = 0; list != nullptr && i < gst_value_list_get_size(list); ++i) {
      const Ptr<char> text(g_strdup_value_contents(gst_value_list_get_value(list, i)));
      found.emplace_back(text.get());
    }
  }
  g_list_free_full(tracers, gst_object_unref);
  return found;
}

TEST_F(Leaks, NothingIsAliveAfterwards) {
  GList* tracers = gst_tracing_get_active_tracers();
  const bool traced = tracers != nullptr;
  g_list_free_full(tracers, gst_object_unref);
  if (!traced) GTEST_SKIP() << "no tracer leaks (libgstcoretracers)";
  for (int i = 0; i < 2; ++i) {
    EXPECT_EQ(play("videotestsrc num-buffers=3 ! video/x-raw,format=I420,width=64,height=48 ! "
                   "tomeclassify model=m ! tomeoverlay ! tomepublish location=/dev/null",
                   [](GstBuffer*) {}),
              "");
  }
  // A task's thread lets go of its task a moment after it was joined, and the tracer must not take
  // a reference to an object at the moment in which its last one goes.
  gst_task_cleanup_all();
  EXPECT_EQ(live_objects(), std::vector<std::string>());
}

}  // namespace
}  // namespace tome::testing
