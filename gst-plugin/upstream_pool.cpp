#include "upstream_pool.h"

#include "gst_ptr.h"

namespace tome::gst {
namespace {

bool is_bounded(GstBufferPool* pool) {
  const Ptr<GstStructure> config(gst_buffer_pool_get_config(pool));
  guint most = 0;
  return gst_buffer_pool_config_get_params(config.get(), nullptr, nullptr, nullptr, &most) &&
         most > 0;
}

bool acquires_as_usual(GstBufferPool* pool) {
  const auto* usual = static_cast<GstBufferPoolClass*>(g_type_class_peek(GST_TYPE_BUFFER_POOL));
  return GST_BUFFER_POOL_GET_CLASS(pool)->acquire_buffer == usual->acquire_buffer;
}

}  // namespace

bool pool_is_dry(const GstBuffer* buffer) {
  GstBufferPool* pool = buffer->pool;
  if (pool == nullptr || !is_bounded(pool) || !acquires_as_usual(pool)) return false;
  GstBufferPoolAcquireParams params{};
  params.flags = GST_BUFFER_POOL_ACQUIRE_FLAG_DONTWAIT;
  GstBuffer* spare = nullptr;
  const GstFlowReturn flow = gst_buffer_pool_acquire_buffer(pool, &spare, &params);
  if (flow == GST_FLOW_OK) gst_buffer_unref(spare);  // back into the pool
  return flow == GST_FLOW_EOS;
}

}  // namespace tome::gst
