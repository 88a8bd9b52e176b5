#include "engine/failure.h"

#include <c10/util/Exception.h>

#include <new>

namespace tome {

Failure describe_failure(const std::exception_ptr& error) {
  try {
    std::rethrow_exception(error);
  } catch (const Error& known) {
    return {known.kind(), known.what()};
  } catch (const c10::OutOfMemoryError& torch) {
    return {ErrorKind::kOutOfMemory, torch.what_without_backtrace()};
  } catch (const c10::Error& torch) {
    return {ErrorKind::kFailed, torch.what_without_backtrace()};
  } catch (const std::bad_alloc&) {
    return {ErrorKind::kOutOfMemory, "out of memory"};
  } catch (const std::exception& other) {
    return {ErrorKind::kFailed, other.what()};
  } catch (...) {
    return {ErrorKind::kFailed, "an exception of unknown type"};
  }
}

}  // namespace tome
