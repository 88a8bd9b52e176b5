// Times the operations of the fused forward one by one on a CUDA device: JSON Lines on stdout.
//
//   build/bench/gpu_kernels [--only=products|attention|merging] [NAME...]
//
// names of cells below; default: all of them
//
// Each operation is captured a number of times into one graph, so that neither launches nor the
// choice of an algorithm is in the times. Products are timed with each algorithm that cuBLASLt's
// heuristic offers; the first is what a forward without tuning takes.
#include <ATen/ATen.h>

#include <algorithm>
#include <cstdio>
#include <functional>
#include <string>
#include <vector>

#include "cuda/device.h"
#include "cuda/graph.h"
#include "cuda/stream.h"
#include "merging/partition.h"
#include "vit/fused_cuda.h"

namespace tome::cuda {
namespace {

struct Cell {
  const char* name;
  int dim, heads, tokens, batch, r;
};

constexpr Cell kCells[] = {
    {"vit_small_b128", 384, 6, 197, 128, 13},      {"vit_base_b1", 768, 12, 197, 1, 13},
    {"vit_base_b128", 768, 12, 197, 128, 13},      {"vit_large_b128", 1024, 16, 197, 128, 8},
    {"vit_large_b128_late", 1024, 16, 61, 128, 8}, {"vit_large_384_b32", 1024, 16, 577, 32, 23},
    {"video_large_b1", 1024, 16, 1568, 1, 65},     {"video_large_b8", 1024, 16, 1568, 8, 65},
    {"video_large_b8_late", 1024, 16, 528, 8, 65},
};

/// bf16 numbers of a normal distribution; long ones repeat.
DeviceMemory random_memory(int64_t elements) {
  static const at::Tensor noise = at::randn({int64_t{1} << 22}).to(at::kBFloat16);
  DeviceMemory memory(static_cast<size_t>(elements) * 2, "random numbers");
  const OwnedStream stream;
  memory.upload(noise.const_data_ptr(), std::min(noise.nbytes(), memory.bytes()));
  for (size_t at = noise.nbytes(); at < memory.bytes(); at += noise.nbytes()) {
    copy_on_device(memory.as<unsigned char>() + at, memory.data(),
                   std::min(noise.nbytes(), memory.bytes() - at), stream.get());
  }
  synchronise(stream.get());
  return memory;
}

/// Microseconds of one call: median over launches of a graph of several.
double time(Stream stream, const std::function<void()>& enqueue) {
  constexpr int kCalls = 10, kLaunches = 7;
  std::vector<double> times = time_in_graph(stream, kCalls, kLaunches, enqueue);
  std::nth_element(times.begin(), times.begin() + kLaunches / 2, times.end());
  return times[kLaunches / 2];
}

class Timings {
 public:
  /// @param only  of the operations; empty: all
  Timings(const Cell& cell, const std::string& only)
      : cell_(cell),
        only_(only),
        rows_(int64_t{cell.batch} * cell.tokens),
        qkv_columns_(3 * cell.dim + cell.dim / cell.heads),
        x_(random_memory(rows_ * cell.dim)),
        out_(random_memory(rows_ * cell.dim)),
        wide_(random_memory(rows_ * 4 * cell.dim)),
        weight_(random_memory(int64_t{4} * cell.dim * cell.dim)),
        floats_(static_cast<size_t>(std::max<int64_t>(rows_, int64_t{4} * cell.dim)) * 4,
                "floats") {
    const std::vector<float> ones(floats_.bytes() / 4, 1.0F);
    floats_.upload(ones.data(), floats_.bytes());
  }

  void run() {
    const auto wanted = [this](const char* what) { return only_.empty() || only_ == what; };
    const int64_t dim = cell_.dim;
    if (wanted("products")) {
      products("qkv with metric", dim, qkv_columns_, false, ProductActivation::kNone);
      products("qkv", dim, 3 * dim, false, ProductActivation::kNone);
      products("proj", dim, dim, false, ProductActivation::kNone);
      products("proj with residual", dim, dim, true, ProductActivation::kNone);
      products("fc1", dim, 4 * dim, false, ProductActivation::kGeluTanh);
      products("fc1 without gelu", dim, 4 * dim, false, ProductActivation::kNone);
      products("fc2", 4 * dim, dim, true, ProductActivation::kNone);
    }
    if (wanted("attention")) {
      attention(nullptr, false, "attention");
      attention(floats_.as<float>(), false, "attention with sizes");
      attention(nullptr, true, "attention by tiles");
      attention(floats_.as<float>(), true, "attention by tiles with sizes");
    }
    if (!wanted("merging")) return;
    matching();
    norm();
  }

 private:
  void print(const char* what, double us, double flops, double bytes, int algorithm = 0) const {
    std::printf(
        "{\"cell\": \"%s\", \"operation\": \"%s\", \"algorithm\": %d, \"us\": %.2f, "
        "\"tflops\": %.1f, \"gb_per_s\": %.0f}\n",
        cell_.name, what, algorithm, us, flops / us * 1e-6, bytes / us * 1e-3);
    std::fflush(stdout);
  }

  void products(const char* what, int64_t depth, int64_t columns, bool residual,
                ProductActivation activation) {
    ProductRequest q;
    q.a = depth > cell_.dim ? wide_.data() : x_.data();
    q.a_stride = q.depth = depth;
    q.weight = weight_.data();
    q.bias = weight_.data();
    q.out = columns > cell_.dim ? wide_.data() : out_.data();
    q.residual = residual ? q.out : nullptr;
    q.out_stride = q.columns = columns;
    q.rows = rows_;
    q.activation = activation;
    const double flops = 2.0 * static_cast<double>(rows_ * depth * columns);
    int algorithm = 0;
    for (const auto& candidate : products_.measure(q, stream_.get())) {
      print(what, candidate.microseconds, flops, 0, algorithm++);
    }
  }

  void attention(const float* sizes, bool tiles_only, const char* what) {
    AttentionRequest q;
    const auto* qkv = wide_.as<uint16_t>();
    q.q = qkv;
    q.k = qkv + cell_.dim;
    q.v = qkv + int64_t{2} * cell_.dim;
    q.token_stride = qkv_columns_;
    q.sample_stride = q.token_stride * cell_.tokens;
    q.dim = cell_.dim / cell_.heads;
    q.head_stride = q.dim;
    q.key_weight = sizes;
    q.tiles_only = tiles_only;
    q.weight_sample_stride = cell_.tokens;
    q.out = out_.data();
    q.batch = cell_.batch;
    q.tokens = cell_.tokens;
    q.heads = cell_.heads;
    const double flops =
        4.0 * cell_.batch * cell_.tokens * static_cast<double>(cell_.tokens) * cell_.dim;
    print(what, time(stream_.get(), [&] { attend(q, stream_.get()); }), flops, 0);
  }

  void matching() {
    MatchRequest q;
    q.metric = wide_.as<uint16_t>() + int64_t{3} * cell_.dim;
    q.token_stride = qkv_columns_;
    q.sample_stride = q.token_stride * cell_.tokens;
    q.batch = cell_.batch;
    q.tokens = cell_.tokens;
    q.channels = cell_.dim / cell_.heads;
    q.r = cell_.r;
    q.halves = halves_view(Partition::kAlternating, cell_.tokens % 2, cell_.tokens);
    const auto rows = static_cast<size_t>(rows_);
    const DeviceMemory target(rows * 8, "target"), from(rows * 8, "from"), to(rows * 8, "to");
    const DeviceMemory begin((rows + 1000) * 4, "begin"), members(rows * 4, "members");
    const DeviceMemory scratch(rows * 64 + 65536, "scratch");
    q.out = {target.as<int64_t>(), from.as<int64_t>(), to.as<int64_t>(), begin.as<int32_t>(),
             members.as<int32_t>()};
    q.workspace = scratch.data();
    print("matching", time(stream_.get(), [&] { match_tokens(q, stream_.get()); }), 0, 0);
    merging(begin, members);
  }

  MergeRequest merge_request() const {
    MergeRequest q;
    q.x = x_.data();
    q.norm_weight = q.norm_bias = floats_.as<float>();
    q.norm_out = wide_.data();
    q.batch = cell_.batch;
    q.tokens_in = q.tokens_out = cell_.tokens;
    q.channels = cell_.dim;
    return q;
  }

  void merging(const DeviceMemory& begin, const DeviceMemory& members) {
    MergeRequest q = merge_request();
    q.size = floats_.as<float>();
    const DeviceMemory sizes(static_cast<size_t>(rows_) * 4, "sizes");
    q.size_out = sizes.as<float>();
    q.x_out = out_.data();
    q.member_begin = begin.as<int32_t>();
    q.members = members.as<int32_t>();
    q.tokens_out -= cell_.r;
    print("merge and LayerNorm", time(stream_.get(), [&] { merge_tokens(q, stream_.get()); }), 0,
          2.0 * cell_.dim * cell_.batch * (q.tokens_in + 2.0 * q.tokens_out));
  }

  void norm() {
    const MergeRequest q = merge_request();
    print("LayerNorm", time(stream_.get(), [&] { merge_tokens(q, stream_.get()); }), 0,
          2.0 * static_cast<double>(rows_) * cell_.dim * 2);
  }

  Cell cell_;
  std::string only_;
  int64_t rows_;
  int qkv_columns_;
  DeviceMemory x_, out_, wide_, weight_, floats_;
  OwnedStream stream_;
  MatrixProducts products_;
};

}  // namespace
}  // namespace tome::cuda

int refuse(const std::string& found, const std::string& expected) {
  std::fprintf(stderr, "gpu_kernels: found '%s', expected %s\n", found.c_str(), expected.c_str());
  return 2;
}

int main(int count, char** arguments) {
  const std::string flag = "--only=";
  std::string only, known;
  for (const tome::cuda::Cell& cell : tome::cuda::kCells) {
    known += (known.empty() ? "" : ", ") + std::string(cell.name);
  }
  std::vector<std::string> names;
  for (const std::string& argument : std::vector<std::string>(arguments + 1, arguments + count)) {
    if (argument.starts_with(flag)) {
      only = argument.substr(flag.size());
      if (only != "products" && only != "attention" && only != "merging") {
        return refuse(argument, flag + "products, attention or merging");
      }
    } else if (std::none_of(std::begin(tome::cuda::kCells), std::end(tome::cuda::kCells),
                            [&](const auto& cell) { return cell.name == argument; })) {
      return refuse(argument, "some of " + known);
    } else {
      names.push_back(argument);
    }
  }
  tome::cuda::open_device(0);
  for (const tome::cuda::Cell& cell : tome::cuda::kCells) {
    const bool asked =
        names.empty() || std::find(names.begin(), names.end(), cell.name) != names.end();
    if (asked) tome::cuda::Timings(cell, only).run();
  }
}
