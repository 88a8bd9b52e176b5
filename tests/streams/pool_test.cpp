// Upstream's buffers are all in flight: the batch they wait for starts as it is.
#include <chrono>
#include <future>

#include "element_fixture.h"

namespace tome::testing {
namespace {

struct UnrefPool {
  void operator()(GstBufferPool* pool) const {
    gst_buffer_pool_set_active(pool, FALSE);
    gst_object_unref(pool);
  }
};
using Pool = std::unique_ptr<GstBufferPool, UnrefPool>;

Pool make_pool(guint least, guint most) {
  Pool pool(gst_buffer_pool_new());
  GstStructure* config = gst_buffer_pool_get_config(pool.get());
  const Ptr<GstCaps> caps(gst_caps_from_string(kGrayCaps));
  gst_buffer_pool_config_set_params(config, caps.get(), 16 * 8, least, most);
  EXPECT_TRUE(gst_buffer_pool_set_config(pool.get(), config));
  EXPECT_TRUE(gst_buffer_pool_set_active(pool.get(), TRUE));
  return pool;
}

/// Pushes `frames` buffers of the pool, as an element upstream would, the first and each
/// `region_interval`-th with a region; the time it took.
std::chrono::milliseconds push_all(Harness& h, GstBufferPool* pool, int frames,
                                   int region_interval = 1) {
  const auto begin = std::chrono::steady_clock::now();
  for (int i = 0; i < frames; ++i) {
    GstBuffer* buffer = nullptr;
    EXPECT_EQ(gst_buffer_pool_acquire_buffer(pool, &buffer, nullptr), GST_FLOW_OK);
    GST_BUFFER_PTS(buffer) = static_cast<GstClockTime>(i) * kFrame;
    gst_buffer_memset(buffer, 0, static_cast<guint8>(i), 16 * 8);
    if (i % region_interval == 0) {
      gst_buffer_add_video_region_of_interest_meta(buffer, "ball", 2, 2, 8, 4);
    }
    EXPECT_EQ(h.push(buffer), GST_FLOW_OK);
  }
  return std::chrono::duration_cast<std::chrono::milliseconds>(std::chrono::steady_clock::now() -
                                                               begin);
}

const LoneElement::Properties kPatient = {
    {"model", "1ms"}, {"batch-size", "8"}, {"batch-timeout", "20000"}, {"top-k", "1"}};

TEST(Pool, OneThatRunsDryFlushesTheBatch) {
  Harness h(kPatient);
  gst_harness_set_drop_buffers(h.get(), TRUE);
  h.set_caps();
  const Pool pool = make_pool(0, 3);
  EXPECT_LT(push_all(h, pool.get(), 30), std::chrono::seconds(10)) << "20 s for each batch if not";
}

TEST(Pool, OneThatRunsDryOfFramesWithoutRegionsFlushesTheBatch) {
  Harness h({{"model", "1ms"},
             {"batch-size", "8"},
             {"batch-timeout", "20000"},
             {"inference-region", "roi-list"}});
  gst_harness_set_drop_buffers(h.get(), TRUE);
  h.set_caps();
  const Pool pool = make_pool(0, 3);
  EXPECT_LT(push_all(h, pool.get(), 12, 3), std::chrono::seconds(10))
      << "20 s for each batch if not";
}

TEST(Pool, OneThatIsLargeEnoughFillsBatches) {
  Harness h(kPatient);
  h.set_caps();
  const Pool pool = make_pool(20, 20);
  push_all(h, pool.get(), 16);
  for (int i = 0; i < 16; ++i) EXPECT_EQ(value_on(h.pull().get()), i);
  double average = 0;
  gst_structure_get_double(h.stats().get(), "average-batch", &average);
  EXPECT_EQ(average, 8.0);
}

}  // namespace
}  // namespace tome::testing
