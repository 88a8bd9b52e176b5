#include "schedule_option.h"

#include "tome_error.h"

namespace tome::cli {

std::vector<int64_t> asked_r(const std::string& spec, const TokenGeometry& geometry) {
  try {
    return Schedule::parse(spec).resolve(geometry);
  } catch (const Error& error) {
    throw Error(error.kind(), "--r: " + std::string(error.what()));
  }
}

}  // namespace tome::cli
