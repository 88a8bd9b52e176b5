#include "failure_message.h"

#include "printable.h"

namespace tome::gst {
namespace {

struct ErrorCode {
  GQuark domain;
  gint code;
};

ErrorCode error_code(TomeStatus status) {
  switch (status) {
    case TOME_ERROR_NOT_FOUND:
      return {GST_RESOURCE_ERROR, GST_RESOURCE_ERROR_NOT_FOUND};
    case TOME_ERROR_READ:
      return {GST_RESOURCE_ERROR, GST_RESOURCE_ERROR_READ};
    case TOME_ERROR_FORMAT:
      return {GST_STREAM_ERROR, GST_STREAM_ERROR_FORMAT};
    case TOME_ERROR_SETTINGS:
      return {GST_LIBRARY_ERROR, GST_LIBRARY_ERROR_SETTINGS};
    case TOME_ERROR_DEVICE:
      return {GST_RESOURCE_ERROR, GST_RESOURCE_ERROR_FAILED};
    case TOME_ERROR_OUT_OF_MEMORY:
      return {GST_RESOURCE_ERROR, GST_RESOURCE_ERROR_NO_SPACE_LEFT};
    default:
      return {GST_LIBRARY_ERROR, GST_LIBRARY_ERROR_FAILED};
  }
}

}  // namespace

void post_failure(GstElement* element, GstMessageType type, const Failure& failure) {
  const ErrorCode code = error_code(failure.status);
  // Settings, file names and what a library wrote are in it.
  gst_element_message_full(element, type, code.domain, code.code,
                           g_strdup(printable(failure.text).c_str()), nullptr, __FILE__,
                           "tomeclassify", __LINE__);
}

}  // namespace tome::gst
