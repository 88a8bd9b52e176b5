// What the launch functions do where there is no GPU, and, where there is one, that the device
// gives what the host executor gives.
#include "cuda/device.h"

#include <ATen/ATen.h>
#include <dlfcn.h>
#include <gtest/gtest.h>

#include <cmath>
#include <optional>
#include <thread>

#include "cuda/device_tensors.h"
#include "cuda/stream.h"
#include "merging/merge_launch.h"
#include "tome_error.h"
#include "vit/attention_cuda.h"
#include "vit/attention_kernel.h"
#include "vit/product_cuda.h"

namespace tome::testing {
namespace {

std::optional<std::string> why_no_device() {
  try {
    cuda::open_device(0);
    return std::nullopt;
  } catch (const Error& error) {
    EXPECT_EQ(error.kind(), ErrorKind::kDevice);
    return error.what();
  }
}

#define TOME_NEEDS_DEVICE() \
  if (const auto why = why_no_device()) GTEST_SKIP() << *why

cuda::MatchRequest match_request(int tokens) {
  cuda::MatchRequest q;
  q.batch = 1;
  q.tokens = tokens;
  q.channels = 64;
  q.r = 4;
  q.halves.a_first = 2;
  q.halves.n_fixed = 1;
  q.halves.n_a = (tokens - 1) / 2;
  q.halves.n_b = tokens / 2;
  return q;
}

TEST(DeviceErrors, WithoutOneTheErrorSaysWhatIsMissing) {
  const auto why = why_no_device();
  if (!why) GTEST_SKIP() << "there is a device";
  EXPECT_NE(why->find("CUDA"), std::string::npos) << *why;
  EXPECT_TRUE(why->find("driver") != std::string::npos || why->find("device") != std::string::npos)
      << *why;
  try {
    cuda::DeviceMemory memory(16, "weights");
    FAIL() << "memory of a device that is not there";
  } catch (const Error& error) {
    EXPECT_EQ(error.kind(), ErrorKind::kDevice);
    EXPECT_NE(std::string(error.what()).find("weights"), std::string::npos) << error.what();
  }
  EXPECT_THROW(cuda::try_kernel(), Error);
  EXPECT_THROW(cuda::CurrentDevice(0), Error);
  try {
    cuda::match_tokens(match_request(197), nullptr);
    FAIL() << "a launch on a device that is not there";
  } catch (const Error& error) {
    EXPECT_EQ(error.kind(), ErrorKind::kDevice);
    EXPECT_NE(std::string(error.what()).find("matching"), std::string::npos) << error.what();
  }
}

TEST(DeviceErrors, RequestsThatMakeNoSenseAreRefusedBeforeAnyLaunch) {
  const auto expect_refused = [](auto&& call) {
    try {
      call();
      FAIL() << "accepted";
    } catch (const Error& error) {
      EXPECT_EQ(error.kind(), ErrorKind::kSettings) << error.what();
    }
  };
  cuda::MatchRequest match = match_request(197);
  match.r = 99;
  expect_refused([&] { cuda::match_tokens(match, nullptr); });
  match = match_request(197);
  match.halves.n_b = 97;
  expect_refused([&] { cuda::match_tokens(match, nullptr); });
  cuda::MergeRequest merge;
  merge.batch = 1;
  merge.tokens_in = 10;
  merge.tokens_out = 9;  // fewer, and no plan
  merge.channels = 64;
  expect_refused([&] { cuda::merge_tokens(merge, nullptr); });
  merge.tokens_out = 10;
  merge.channels = cuda::kMergeMaxChannels + 1;
  expect_refused([&] { cuda::merge_tokens(merge, nullptr); });
  cuda::AttentionRequest attention;
  attention.batch = attention.heads = attention.tokens = 1;
  attention.dim = 48;
  expect_refused([&] { cuda::attend(attention, nullptr); });
  attention.dim = 64;
  attention.token_stride = 100;
  expect_refused([&] { cuda::attend(attention, nullptr); });
}

TEST(Device, AKernelRuns) {
  TOME_NEEDS_DEVICE();
  const cuda::CurrentDevice device(0);
  EXPECT_NO_THROW(cuda::try_kernel());
}

/// A call of the driver's, which is ready when a device was current.
template <class F>
F* driver_call(const char* name) {
  { const cuda::CurrentDevice device(0); }
  void* driver = dlopen("libcuda.so.1", RTLD_NOW);
  return driver == nullptr ? nullptr : reinterpret_cast<F*>(dlsym(driver, name));
}

/// A thread of an application's, which has no context or one of its own.
TEST(Device, ThreadsGetTheContextBackThatTheyHad) {
  TOME_NEEDS_DEVICE();
  int driver = 0;  // its address is nobody's context
  auto* const current = driver_call<int(void**)>("cuCtxGetCurrent");
  auto* const create = driver_call<int(void**, unsigned, int)>("cuCtxCreate_v2");
  auto* const destroy = driver_call<int(void*)>("cuCtxDestroy_v2");
  ASSERT_TRUE(current != nullptr && create != nullptr && destroy != nullptr);
  std::thread([&] {
    void* before = &driver;
    ASSERT_EQ(current(&before), 0);
    EXPECT_EQ(before, nullptr);
    for (void* own : {static_cast<void*>(nullptr), static_cast<void*>(&driver)}) {
      if (own != nullptr) {
        ASSERT_EQ(create(&own, 0, 0), 0);  // and makes it current
      }
      for (int again = 0; again < 2; ++again) {
        void* inside = nullptr;
        {
          const cuda::CurrentDevice device(0);
          ASSERT_EQ(current(&inside), 0);
          cuda::try_kernel();
        }
        void* after = &driver;
        ASSERT_EQ(current(&after), 0);
        EXPECT_EQ(after, own);
        EXPECT_TRUE(inside != nullptr && inside != own) << "the device's own context";
        EXPECT_THROW(cuda::CurrentDevice(cuda::device_count()), Error);
        ASSERT_EQ(current(&after), 0);
        EXPECT_EQ(after, own) << "after one that is not there";
      }
      if (own != nullptr) destroy(own);
    }
  }).join();
}

/// By CUDA's default a thread must not allocate while another one captures, and ends the capture.
TEST(Device, OtherThreadsCapturesGoOn) {
  TOME_NEEDS_DEVICE();
  auto* const begin = driver_call<int(cuda::Stream, int)>("cuStreamBeginCapture_v2");
  auto* const end = driver_call<int(cuda::Stream, void**)>("cuStreamEndCapture");
  auto* const destroy = driver_call<int(void*)>("cuGraphDestroy");
  ASSERT_TRUE(begin != nullptr && end != nullptr && destroy != nullptr);
  const cuda::CurrentDevice device(0);
  const cuda::OwnedStream stream;
  constexpr int kGlobal = 0;
  ASSERT_EQ(begin(stream.get(), kGlobal), 0);
  std::thread([] {
    const cuda::CurrentDevice device(0);
    EXPECT_NO_THROW({
      cuda::DeviceMemory memory(1 << 20, "memory beside a capture");
      const int one = 1;
      memory.upload(&one, sizeof(one));
    });
  }).join();
  void* graph = nullptr;
  EXPECT_EQ(end(stream.get(), &graph), 0);
  if (graph != nullptr) destroy(graph);
}

TEST(Device, MatchingAndMergeEqualTheHostExecutor) {
  TOME_NEEDS_DEVICE();
  for (const int64_t tokens : {65, 197, 1569, 4200}) {
    SCOPED_TRACE(std::to_string(tokens) + " tokens");
    at::manual_seed(static_cast<uint64_t>(tokens));
    const at::Tensor keys = at::randn({2, tokens, 64}).to(at::kBFloat16);
    MatchOptions options;
    options.r = tokens / 8;
    options.protected_tokens = {0};
    const Matching host = match_with_kernels(keys, options).matching;
    const DeviceMatching device = match_on_device(keys, options, 3);
    const Matching& got = device.plan.matching;
    // Sums in another order may swap edges whose scores differ in the last bits.
    expect_right_plan(keys, options, device.plan, 1e-5);
    const at::Tensor same = got.source.eq(host.source);
    EXPECT_GE(same.to(at::kDouble).mean().item<double>(), 0.98);
    const at::Tensor elsewhere = got.destination.ne(host.destination).logical_and(same);
    EXPECT_LE(elsewhere.sum().item<int64_t>(), host.r() / 100);

    const at::Tensor x = at::randn({2, tokens, 192});
    const DeviceMerge merged = merge_on_device(x, {}, device);
    // Against the definition, by the device's own plan.
    const at::Tensor ones = at::ones({2, tokens}, at::kDouble);
    const at::Tensor count =
        at::zeros({2, got.tokens_out}, at::kDouble).scatter_add(1, got.target, ones);
    const at::Tensor expected =
        at::zeros({2, got.tokens_out, 192}, at::kDouble)
            .scatter_add(1, got.target.unsqueeze(-1).expand({2, tokens, 192}), x.to(at::kDouble)) /
        count.unsqueeze(-1);
    EXPECT_LE((merged.x - expected).abs().max().item<double>(), 1e-5);
    EXPECT_TRUE(at::equal(merged.size.to(at::kDouble), count));
  }
}

/// |got - expected| / |expected|
double distance(const at::Tensor& got, const at::Tensor& expected) {
  return ((got.to(at::kDouble) - expected).norm() / expected.norm()).item<double>();
}

/// Of attention on the device over that by definition, on the rows of a random QKV product.
double attention_distance(int64_t tokens, int64_t dim, at::ScalarType type, bool weighted,
                          bool tiles_only) {
  at::manual_seed(static_cast<uint64_t>(dim + tokens));
  const int64_t heads = 3;
  const at::Tensor rows = at::randn({2, tokens, 3, heads, dim}).to(type);
  const at::Tensor weight = at::randint(1, 60, {2, tokens}, at::kFloat);
  const cuda::DeviceMemory device_rows = on_device(rows), device_weight = on_device(weight);
  const at::Tensor out = at::full({2, tokens, heads * dim}, NAN, rows.options());
  const cuda::DeviceMemory device_out = on_device(out);
  cuda::AttentionRequest q;
  q.type = element_type(type);
  q.q = device_rows.data();
  q.k = device_rows.as<uint16_t>() + heads * dim;
  q.v = device_rows.as<uint16_t>() + 2 * heads * dim;
  q.sample_stride = rows.stride(0);
  q.token_stride = rows.stride(1);
  q.head_stride = dim;
  q.key_weight = weighted ? device_weight.as<float>() : nullptr;
  q.weight_sample_stride = tokens;
  q.out = device_out.data();
  q.batch = 2;
  q.tokens = static_cast<int>(tokens);
  q.heads = static_cast<int>(heads);
  q.dim = static_cast<int>(dim);
  q.scale = 1.0F / std::sqrt(static_cast<float>(dim));
  q.tiles_only = tiles_only;
  cuda::attend(q, nullptr);
  cuda::synchronise(nullptr);
  download(device_out, out);
  const at::Tensor wide = rows.to(at::kDouble).permute({2, 0, 3, 1, 4});
  at::Tensor scores = at::matmul(wide[0], wide[1].transpose(2, 3)) / std::sqrt(dim);
  if (weighted) scores = scores + weight.to(at::kDouble).log().unsqueeze(1).unsqueeze(1);
  return distance(out, at::matmul(scores.softmax(-1), wide[2]).transpose(1, 2).flatten(2));
}

void expect_attention_of(at::ScalarType type, double tolerance) {
  for (const int64_t dim : {32, 64, 80, 128}) {
    for (const int64_t tokens : {1, 17, 61, 128, 197, 577, 1568}) {
      for (const bool weighted : {false, true}) {
        for (const bool tiles_only : {false, true}) {
          EXPECT_LE(attention_distance(tokens, dim, type, weighted, tiles_only), tolerance)
              << tokens << " tokens, heads of " << dim << (weighted ? ", weighted" : "")
              << (tiles_only ? ", by tiles" : "");
        }
      }
    }
  }
}

/// Up to rounding of probabilities and of the result.
TEST(Device, AttentionEqualsTheDefinition) {
  TOME_NEEDS_DEVICE();
  expect_attention_of(at::kBFloat16, 5e-3);
}

TEST(Device, AttentionInFp16EqualsTheDefinition) {
  TOME_NEEDS_DEVICE();
  expect_attention_of(at::kHalf, 8e-4);
}

/// Of a product on the device over that by definition.
double product_distance(const at::Tensor& a, const at::Tensor& weight, ProductActivation activation,
                        bool residual, bool tune) {
  const int64_t rows = a.size(0), depth = a.size(1), columns = weight.size(0);
  const at::Tensor bias = at::randn({columns}).to(at::kBFloat16);
  const at::Tensor added = at::randn({rows, columns}).to(at::kBFloat16);
  const cuda::DeviceMemory device_a = on_device(a), device_weight = on_device(weight);
  const cuda::DeviceMemory device_bias = on_device(bias);
  cuda::DeviceMemory out = on_device(added);
  ProductRequest q;
  q.a = device_a.data();
  q.weight = device_weight.data();
  q.bias = device_bias.data();
  q.residual = residual ? out.data() : nullptr;
  q.out = out.data();
  q.a_stride = q.depth = depth;
  q.out_stride = q.columns = columns;
  q.rows = rows;
  q.activation = activation;
  cuda::MatrixProducts products;
  const cuda::OwnedStream stream;
  if (tune) {
    products.tune(q, stream.get());
    out.upload(added.data_ptr(), added.nbytes());
  }
  products.run(q, stream.get());
  cuda::synchronise(stream.get());
  const at::Tensor got = at::empty_like(added);
  out.download(got.data_ptr(), got.nbytes());
  at::Tensor expected = at::linear(a.to(at::kDouble), weight.to(at::kDouble), bias.to(at::kDouble));
  if (activation == ProductActivation::kGeluTanh) expected = at::gelu(expected, "tanh");
  if (residual) expected = expected + added.to(at::kDouble);
  return distance(got, expected);
}

double product_distance(int64_t rows, int64_t depth, int64_t columns, ProductActivation activation,
                        bool residual, bool tune) {
  at::manual_seed(static_cast<uint64_t>(rows + depth));
  const at::Tensor a = at::randn({rows, depth}).to(at::kBFloat16);
  const at::Tensor weight = (at::randn({columns, depth}) / std::sqrt(depth)).to(at::kBFloat16);
  return product_distance(a, weight, activation, residual, tune);
}

TEST(Device, ProductsEqualTheDefinition) {
  TOME_NEEDS_DEVICE();
  for (const bool tune : {false, true}) {
    for (const int64_t rows : {1, 197, 1576}) {
      const auto none = ProductActivation::kNone, gelu = ProductActivation::kGeluTanh;
      EXPECT_LE(product_distance(rows, 192, 640, none, false, tune), 4e-3) << rows;
      EXPECT_LE(product_distance(rows, 192, 192, none, true, tune), 4e-3) << rows;
      EXPECT_LE(product_distance(rows, 192, 768, gelu, false, tune), 4e-3) << rows;
      EXPECT_LE(product_distance(rows, 768, 192, none, true, tune), 4e-3) << rows;
      // Patches of 14 x 14: rows that are no multiple of 16 bytes.
      EXPECT_LE(product_distance(rows, 588, 384, none, false, tune), 4e-3) << rows;
    }
  }
}

/// The two halves of depth sum to about 39 and -39, and together to about 1: one of them rounded to
/// 16 bits, where an algorithm splits the sum, makes a distance of 0.04.
TEST(Device, ProductsAddPartialSumsInFloat) {
  TOME_NEEDS_DEVICE();
  constexpr int64_t kHalf = 1536, kColumns = 768;
  for (const bool tune : {false, true}) {
    for (const int64_t rows : {1, 197}) {
      for (const bool residual : {false, true}) {
        at::manual_seed(static_cast<uint64_t>(rows));
        const at::Tensor a = at::randn({rows, kHalf}).to(at::kBFloat16).repeat({1, 2});
        const at::Tensor first = at::randn({kColumns, kHalf}).to(at::kBFloat16);
        const at::Tensor rest = at::randn({kColumns, kHalf}) / std::sqrt(kHalf);
        const at::Tensor weight = at::cat({first, (rest - first).to(at::kBFloat16)}, 1);
        const double off = product_distance(a, weight, ProductActivation::kNone, residual, tune);
        EXPECT_LE(off, 4e-3) << rows << (tune ? ", tuned" : "") << (residual ? ", added" : "");
      }
    }
  }
}

at::Tensor layer_norm(const at::Tensor& x, const at::Tensor& weight, const at::Tensor& bias) {
  return at::layer_norm(x.to(at::kDouble), {x.size(-1)}, weight.to(at::kDouble),
                        bias.to(at::kDouble), 1e-6);
}

/// LayerNorm alone, as an unmerged block asks for it: few tokens each in a block, many in streams.
TEST(Device, LayerNormEqualsTheDefinition) {
  TOME_NEEDS_DEVICE();
  for (const int64_t batch : {2, 128}) {
    for (const int64_t channels : {192, 384, 768, 1024, 1280}) {
      at::manual_seed(static_cast<uint64_t>(channels));
      const at::Tensor x = (3 * at::randn({batch, 197, channels})).to(at::kBFloat16);
      const at::Tensor weight = at::randn({channels}), bias = at::randn({channels});
      const cuda::DeviceMemory x_in = on_device(x), device_weight = on_device(weight),
                               device_bias = on_device(bias), norm = on_device(x);
      cuda::MergeRequest m;
      m.x = x_in.data();
      m.norm_weight = device_weight.as<float>();
      m.norm_bias = device_bias.as<float>();
      m.norm_out = norm.data();
      m.batch = static_cast<int>(batch);
      m.tokens_in = m.tokens_out = 197;
      m.channels = static_cast<int>(channels);
      cuda::merge_tokens(m, nullptr);
      cuda::synchronise(nullptr);
      const at::Tensor got = at::empty_like(x);
      norm.download(got.data_ptr(), got.nbytes());
      EXPECT_LE(distance(got, layer_norm(x, weight, bias)), 4e-3) << batch << " x " << channels;
    }
  }
}

/// What a merge of many tokens, which goes in streams, makes of x and sizes, by the device's plan.
void expect_merged_in_streams(int64_t channels, at::ScalarType type) {
  constexpr int64_t kBatch = 128, kTokens = 197;
  at::manual_seed(static_cast<uint64_t>(channels));
  // In few clusters, so that many sources have one destination.
  const at::Tensor pick = at::randint(8, {kBatch, kTokens, 1}, at::kLong).expand({-1, -1, 64});
  const at::Tensor keys =
      at::randn({kBatch, 8, 64}).gather(1, pick) + 0.01 * at::randn({kBatch, kTokens, 64});
  MatchOptions options;
  options.r = 60;
  options.protected_tokens = {0};
  const DeviceMatching by = match_on_device(keys.to(at::kBFloat16).contiguous(), options);
  const int64_t tokens_out = by.plan.matching.tokens_out;
  const at::Tensor& target = by.plan.matching.target;

  const at::Tensor x = at::randn({kBatch, kTokens, channels}).to(type);
  const at::Tensor size = at::randint(1, 5, {kBatch, kTokens}, at::kFloat);
  const at::Tensor weight = at::randn({channels}), bias = at::randn({channels});
  const at::Tensor x_got = at::full({kBatch, tokens_out, channels}, NAN, x.options());
  const at::Tensor norm_got = x_got.clone(), size_got = at::full({kBatch, tokens_out}, NAN);
  const cuda::DeviceMemory x_in = on_device(x), size_in = on_device(size), x_out = on_device(x_got),
                           norm_out = on_device(norm_got), size_out = on_device(size_got),
                           device_weight = on_device(weight), device_bias = on_device(bias);
  cuda::MergeRequest m;
  m.type = element_type(type);
  m.x = x_in.data();
  m.size = size_in.as<float>();
  m.x_out = x_out.data();
  m.size_out = size_out.as<float>();
  m.member_begin = by.member_begin.as<int32_t>();
  m.members = by.members.as<int32_t>();
  m.norm_weight = device_weight.as<float>();
  m.norm_bias = device_bias.as<float>();
  m.norm_out = norm_out.data();
  m.batch = kBatch;
  m.tokens_in = kTokens;
  m.tokens_out = static_cast<int>(tokens_out);
  m.channels = static_cast<int>(channels);
  cuda::merge_tokens(m, nullptr);
  cuda::synchronise(nullptr);
  download(x_out, x_got);
  download(norm_out, norm_got);
  download(size_out, size_got);

  const at::Tensor wide = size.to(at::kDouble);
  const at::Tensor sizes =
      at::zeros({kBatch, tokens_out}, at::kDouble).scatter_add(1, target, wide);
  const at::Tensor sums = at::zeros({kBatch, tokens_out, channels}, at::kDouble)
                              .scatter_add(1, target.unsqueeze(-1).expand({-1, -1, channels}),
                                           x.to(at::kDouble) * wide.unsqueeze(-1));
  const at::Tensor expected = sums / sizes.unsqueeze(-1);
  const at::Tensor members = at::zeros_like(sizes).scatter_add(1, target, at::ones_like(wide));
  EXPECT_GT(members.max().item<double>(), 8) << "a whole block sums these";
  EXPECT_TRUE(at::equal(size_got.to(at::kDouble), sizes));
  EXPECT_LE(distance(x_got, expected), 4e-3);
  EXPECT_LE(distance(norm_got, layer_norm(expected, weight, bias)), 6e-3);
}

TEST(Device, MergesInStreamsEqualTheDefinition) {
  TOME_NEEDS_DEVICE();
  for (const auto type : {at::kBFloat16, at::kHalf}) {
    for (const int64_t channels : {384, 768, 1024}) {
      SCOPED_TRACE(std::to_string(channels) + " channels of " + at::toString(type));
      expect_merged_in_streams(channels, type);
    }
  }
}

}  // namespace
}  // namespace tome::testing
