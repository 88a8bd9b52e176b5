#include "checkpoint/safetensors.h"

#include <ATen/ATen.h>
#include <fcntl.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <unistd.h>

#include <algorithm>
#include <array>
#include <cerrno>
#include <cstring>
#include <utility>

#include "checkpoint/json_text.h"
#include "checkpoint/replace_file.h"
#include "excerpt.h"
#include "tome_error.h"

namespace tome {
namespace {

using Json = nlohmann::json;

// Limit of the format's own reference implementation.
constexpr uint64_t kMaxHeader = 100'000'000;
constexpr size_t kMaxDims = 16;

constexpr std::array<std::pair<const char*, at::ScalarType>, 10> kDtypes{{{"F64", at::kDouble},
                                                                          {"F32", at::kFloat},
                                                                          {"F16", at::kHalf},
                                                                          {"BF16", at::kBFloat16},
                                                                          {"I64", at::kLong},
                                                                          {"I32", at::kInt},
                                                                          {"I16", at::kShort},
                                                                          {"I8", at::kChar},
                                                                          {"U8", at::kByte},
                                                                          {"BOOL", at::kBool}}};

class FileDescriptor {
 public:
  explicit FileDescriptor(const std::filesystem::path& path)
      // O_NONBLOCK: opening a FIFO must not wait for a writer.
      : fd_(::open(path.c_str(), O_RDONLY | O_CLOEXEC | O_NONBLOCK)) {}
  ~FileDescriptor() {
    if (fd_ >= 0) ::close(fd_);
  }
  FileDescriptor(const FileDescriptor&) = delete;
  FileDescriptor& operator=(const FileDescriptor&) = delete;
  int get() const { return fd_; }

 private:
  int fd_;
};

struct Mapping {
  std::shared_ptr<const std::byte> bytes;
  size_t size = 0;
};

// A file that someone truncates while it is mapped raises SIGBUS; so the map lives only as long as
// a load, which copies what it keeps.
Mapping map_file(const std::filesystem::path& path) {
  const FileDescriptor file(path);
  if (file.get() < 0) {
    throw Error(errno == ENOENT || errno == ENOTDIR ? ErrorKind::kNotFound : ErrorKind::kRead,
                path.string() + ": " + std::strerror(errno));
  }
  struct stat info {};
  if (::fstat(file.get(), &info) != 0 || !S_ISREG(info.st_mode)) {
    throw Error(ErrorKind::kRead, path.string() + ": not a regular file");
  }
  const auto size = static_cast<size_t>(info.st_size);
  if (size < 8) {
    throw Error(ErrorKind::kRead, path.string() + ": truncated: " + std::to_string(size) +
                                      " bytes, a safetensors file starts with 8 bytes of length");
  }
  void* map = ::mmap(nullptr, size, PROT_READ, MAP_PRIVATE, file.get(), 0);
  if (map == MAP_FAILED) {
    throw Error(ErrorKind::kRead, path.string() + ": cannot be mapped: " + std::strerror(errno));
  }
  return {std::shared_ptr<const std::byte>(static_cast<const std::byte*>(map),
                                           [map, size](const std::byte*) { ::munmap(map, size); }),
          size};
}

// A JSON integer that is >= 0 and fits into int64, or throws.
uint64_t unsigned_of(const Json& value, const std::string& what) {
  if (!value.is_number_unsigned() || value.get<uint64_t>() > uint64_t{INT64_MAX}) {
    throw Error(ErrorKind::kFormat, what + " is not an integer between 0 and 2^63 - 1");
  }
  return value.get<uint64_t>();
}

at::ScalarType dtype_of(const Json& value, const std::string& what) {
  if (value.is_string()) {
    const auto& name = value.get_ref<const std::string&>();
    for (const auto& [known, type] : kDtypes) {
      if (name == known) return type;
    }
    throw Error(ErrorKind::kFormat, what + ": unknown dtype \"" + excerpt(name) +
                                        "\", expected F64, F32, F16, BF16, I64, I32, I16, I8, U8 "
                                        "or BOOL");
  }
  throw Error(ErrorKind::kFormat, what + ": dtype is not a string");
}

const Json& member(const Json& object, const char* key, const std::string& what) {
  const auto found = object.find(key);
  if (found == object.end()) {
    throw Error(ErrorKind::kFormat, what + ": \"" + key + "\" is missing");
  }
  return *found;
}

std::vector<int64_t> shape_of(const Json& value, const std::string& what) {
  if (!value.is_array() || value.size() > kMaxDims) {
    throw Error(ErrorKind::kFormat,
                what + ": shape is not a list of at most " + std::to_string(kMaxDims) + " numbers");
  }
  std::vector<int64_t> shape;
  for (const Json& size : value) {
    shape.push_back(static_cast<int64_t>(unsigned_of(size, what + ": a size in shape")));
  }
  return shape;
}

// Bytes that `shape` needs, or throws if they do not fit into 63 bits.
uint64_t bytes_of(const TensorEntry& entry, const std::string& what) {
  uint64_t bytes = c10::elementSize(entry.dtype);
  bool empty = false;
  for (const int64_t size : entry.shape) {
    empty = empty || size == 0;
    if (__builtin_mul_overflow(bytes, static_cast<uint64_t>(std::max<int64_t>(size, 1)), &bytes) ||
        bytes > uint64_t{INT64_MAX}) {
      throw Error(ErrorKind::kFormat, what + ": shape overflows 63 bits");
    }
  }
  return empty ? 0 : bytes;
}

TensorEntry parse_entry(const Json& value, const std::string& what, uint64_t data_size) {
  if (!value.is_object()) throw Error(ErrorKind::kFormat, what + " is not a JSON object");
  TensorEntry entry;
  entry.dtype = dtype_of(member(value, "dtype", what), what);
  entry.shape = shape_of(member(value, "shape", what), what);
  const Json& offsets = member(value, "data_offsets", what);
  if (!offsets.is_array() || offsets.size() != 2) {
    throw Error(ErrorKind::kFormat, what + ": data_offsets is not a list of two numbers");
  }
  entry.begin = unsigned_of(offsets[0], what + ": data_offsets[0]");
  entry.end = unsigned_of(offsets[1], what + ": data_offsets[1]");
  if (entry.begin > entry.end || entry.end > data_size) {
    throw Error(ErrorKind::kFormat, what + ": data_offsets [" + std::to_string(entry.begin) + ", " +
                                        std::to_string(entry.end) + "] do not lie in the " +
                                        std::to_string(data_size) +
                                        " bytes of data: truncated file or lying header");
  }
  const uint64_t expected = bytes_of(entry, what);
  if (entry.end - entry.begin != expected) {
    throw Error(ErrorKind::kFormat,
                what + ": data_offsets cover " + std::to_string(entry.end - entry.begin) +
                    " bytes, its shape and dtype need " + std::to_string(expected));
  }
  return entry;
}

// The format asks that tensors cover the data section without a hole or an overlap.
void check_layout(const std::map<std::string, TensorEntry, std::less<>>& entries,
                  const std::string& file, uint64_t data_size) {
  std::vector<std::pair<const std::string*, const TensorEntry*>> order;
  for (const auto& [name, entry] : entries) order.emplace_back(&name, &entry);
  std::sort(order.begin(), order.end(), [](const auto& a, const auto& b) {
    return std::pair(a.second->begin, a.second->end) < std::pair(b.second->begin, b.second->end);
  });
  uint64_t place = 0;
  for (const auto& [name, entry] : order) {
    if (entry->begin != place) {
      throw Error(ErrorKind::kFormat,
                  file + ": tensor " + excerpt(*name) + " starts at byte " +
                      std::to_string(entry->begin) + " of the data, expected " +
                      std::to_string(place) +
                      (entry->begin < place ? ": tensors overlap" : ": a hole in the data"));
    }
    place = entry->end;
  }
  if (place != data_size) {
    throw Error(ErrorKind::kFormat, file + ": tensors cover " + std::to_string(place) +
                                        " bytes, the file holds " + std::to_string(data_size));
  }
}

uint64_t header_length(const Mapping& map, const std::string& file) {
  uint64_t length = 0;
  for (size_t i = 0; i < 8; ++i) {
    length |= std::to_integer<uint64_t>(map.bytes.get()[i]) << (8 * i);
  }
  if (length > map.size - 8 || length > kMaxHeader) {
    throw Error(ErrorKind::kFormat, file + ": header of " + std::to_string(length) +
                                        " bytes in a file of " + std::to_string(map.size) +
                                        ": truncated, or not a safetensors file");
  }
  return length;
}

std::string header_text(const std::map<std::string, at::Tensor>& tensors,
                        const std::map<std::string, std::string>& metadata) {
  Json header = Json::object();
  if (!metadata.empty()) header["__metadata__"] = metadata;
  uint64_t place = 0;
  for (const auto& [name, tensor] : tensors) {
    const auto* known = std::find_if(kDtypes.begin(), kDtypes.end(), [&](const auto& pair) {
      return pair.second == tensor.scalar_type();
    });
    if (known == kDtypes.end()) {
      throw Error(ErrorKind::kSettings, "tensor " + name + ": safetensors has no dtype " +
                                            c10::toString(tensor.scalar_type()));
    }
    const uint64_t end = place + tensor.nbytes();
    header[name] = {
        {"dtype", known->first}, {"shape", tensor.sizes().vec()}, {"data_offsets", {place, end}}};
    place = end;
  }
  std::string text = header.dump();
  text.append((8 - text.size() % 8) % 8, ' ');  // tensors start 8-byte aligned, as the format asks
  return text;
}

}  // namespace

SafetensorsFile SafetensorsFile::open(const std::filesystem::path& path) {
  const std::string file = path.string();
  const Mapping map = map_file(path);
  const uint64_t length = header_length(map, file);
  const std::string_view text(reinterpret_cast<const char*>(map.bytes.get()) + 8, length);
  if (text.empty() || text.front() != '{') {
    throw Error(ErrorKind::kFormat, file + ": the header is not a JSON object");
  }
  const Json header = parse_json(text, file + ", header");
  SafetensorsFile out;
  out.path_ = path;
  const uint64_t data_size = map.size - 8 - length;
  for (const auto& [name, value] : header.items()) {
    if (name == "__metadata__") {
      if (!value.is_object()) {
        throw Error(ErrorKind::kFormat, file + ": __metadata__ is not a JSON object");
      }
      for (const auto& [key, text_value] : value.items()) {
        if (text_value.is_string()) out.metadata_[key] = text_value.get<std::string>();
      }
      continue;
    }
    out.entries_[name] = parse_entry(value, file + ": tensor " + excerpt(name), data_size);
  }
  check_layout(out.entries_, file, data_size);
  out.data_ = std::shared_ptr<const std::byte>(map.bytes, map.bytes.get() + 8 + length);
  return out;
}

std::vector<std::string> SafetensorsFile::names() const {
  std::vector<std::string> names;
  for (const auto& [name, entry] : entries_) names.push_back(name);
  return names;
}

const TensorEntry& SafetensorsFile::entry(std::string_view name) const {
  const auto found = entries_.find(name);
  if (found == entries_.end()) {
    throw Error(ErrorKind::kFormat, path_.string() + ": tensor " + excerpt(name) + " is missing");
  }
  return found->second;
}

std::span<const std::byte> SafetensorsFile::bytes(std::string_view name) const {
  const TensorEntry& found = entry(name);
  return {data_.get() + found.begin, found.end - found.begin};
}

at::Tensor SafetensorsFile::tensor(std::string_view name) const {
  const TensorEntry& found = entry(name);
  at::Tensor out = at::empty(found.shape, at::TensorOptions().dtype(found.dtype));
  // memcpy: the format promises no alignment.
  if (out.nbytes() > 0) std::memcpy(out.mutable_data_ptr(), bytes(name).data(), out.nbytes());
  return out;
}

void write_safetensors(const std::filesystem::path& path,
                       const std::map<std::string, at::Tensor>& tensors,
                       const std::map<std::string, std::string>& metadata) {
  const std::string header = header_text(tensors, metadata);
  std::array<char, 8> length{};
  for (size_t i = 0; i < 8; ++i) length[i] = static_cast<char>(header.size() >> (8 * i));
  replace_file(path, [&](const ByteSink& write) {
    write(length.data(), length.size());
    write(header.data(), header.size());
    for (const auto& [name, tensor] : tensors) {
      const at::Tensor bytes = tensor.detach().to(at::kCPU).contiguous();
      write(bytes.const_data_ptr(), bytes.nbytes());
    }
  });
}

}  // namespace tome
