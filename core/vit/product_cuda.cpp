#include "vit/product_cuda.h"

#include <algorithm>
#include <array>
#include <memory>
#include <mutex>
#include <optional>
#include <span>
#include <string>

#include "cuda/graph.h"
#include "cuda/stream.h"
#include "never_destroyed.h"
#include "tome_error.h"

namespace tome::cuda {
namespace {

/// What cuBLAS recommends for Hopper; earlier devices need less.
constexpr size_t kWorkspaceBytes = size_t{32} << 20;
/// For each product; algorithms need 4 or none.
constexpr size_t kCounterBytes = 256;

struct Deleter {
  lt::Status (*destroy)(void*);
  void operator()(void* object) const { destroy(object); }
};
using Owned = std::unique_ptr<void, Deleter>;

int data_type(ElementType type) {
  switch (type) {
    case ElementType::kFloat32:
      return lt::kReal32F;
    case ElementType::kBfloat16:
      return lt::kReal16BF;
    case ElementType::kFloat16:
      return lt::kReal16F;
  }
  return lt::kReal32F;
}

std::string text_of(const ProductRequest& q) {
  return "product [" + std::to_string(q.rows) + ", " + std::to_string(q.depth) + "] x [" +
         std::to_string(q.depth) + ", " + std::to_string(q.columns) + "]";
}

uint32_t epilogue_of(const ProductRequest& q) {
  uint32_t epilogue = q.bias != nullptr ? lt::kEpilogueBias : 0;
  switch (q.activation) {
    case ProductActivation::kNone:
      break;
    case ProductActivation::kGeluTanh:
      epilogue |= lt::kEpilogueGelu;
      break;
    case ProductActivation::kRelu:
      epilogue |= lt::kEpilogueRelu;
      break;
    case ProductActivation::kGelu:
      throw Error(ErrorKind::kSettings, text_of(q) + ": cuBLASLt has GELU in its tanh form alone");
  }
  return epilogue == 0 ? lt::kEpilogueDefault : epilogue;
}

/// The largest power of two, up to 256, that divides an address.
uint32_t alignment_of(const void* p) {
  const auto address = reinterpret_cast<uintptr_t>(p) | 256U;
  return static_cast<uint32_t>(address & (~address + 1));
}

/// Of the weight, a, what is added and the result.
std::array<uint32_t, 4> alignments_of(const ProductRequest& q) {
  const void* added = q.residual != nullptr ? q.residual : q.out;
  return {alignment_of(q.weight), alignment_of(q.a), alignment_of(added), alignment_of(q.out)};
}

/// Note [Row-major products in a column-major library]
/// A row-major [rows, columns] matrix is a column-major [columns, rows] one in the same memory. So
/// out^T = weight a^T is computed, with `weight` [columns, depth] row-major read as [depth,
/// columns] and transposed. The bias goes along the result's columns of memory, which is what the
/// library's epilogue means by a bias.
class Product {
 public:
  explicit Product(const ProductRequest& q) : api_(lt::functions()), q_(q) {
    desc_ = make("matmul descriptor", api_.matmul_desc_destroy, [&](void** out) {
      return api_.matmul_desc_create(out, lt::kCompute32F, lt::kReal32F);
    });
    set(lt::kDescTransA, lt::kOpT);
    set(lt::kDescTransB, lt::kOpN);
    set(lt::kDescEpilogue, epilogue_of(q));
    if (q.bias != nullptr) set(lt::kDescBiasPointer, q.bias);
    weight_ = layout(q.type, q.depth, q.columns, q.depth);
    a_ = layout(q.type, q.depth, q.rows, q.a_stride);
    out_ = layout(q.out_type, q.columns, q.rows, q.out_stride);
  }

  void run(lt::Handle handle, const lt::Algo& algo, std::span<unsigned char> workspace,
           Stream stream) const {
    const float one = 1, beta = q_.residual != nullptr ? 1 : 0;
    const void* added = q_.residual != nullptr ? q_.residual : q_.out;
    lt::check(api_.matmul(handle, desc_.get(), &one, q_.weight, weight_.get(), q_.a, a_.get(),
                          &beta, added, out_.get(), q_.out, out_.get(), &algo, workspace.data(),
                          workspace.size(), stream),
              text_of(q_));
  }

  ProductAlgorithm first_guess(lt::Handle handle, size_t workspace_bytes) const {
    const Guesses guesses = guesses_for(a_.get(), out_.get(), handle, workspace_bytes, 1);
    lt::check(guesses.status, text_of(q_) + ", choosing an algorithm");
    return guesses.algorithms.front();
  }

  /// The guesses for these rows, the first one first, and those for fewer that fit.
  std::vector<ProductAlgorithm> candidates(lt::Handle handle, size_t workspace_bytes) const {
    constexpr int kGuesses = 8, kParts = 8;
    std::vector<ProductAlgorithm> found{first_guess(handle, workspace_bytes)};
    for (int part = kParts; part > 0; --part) {
      const int64_t rows = std::max<int64_t>(1, q_.rows * part / kParts);
      const Owned a = layout(q_.type, q_.depth, rows, q_.a_stride);
      const Owned out = layout(q_.out_type, q_.columns, rows, q_.out_stride);
      const Guesses guesses =
          guesses_for(a.get(), out.get(), handle, workspace_bytes, kGuesses);  // none is no matter
      for (const ProductAlgorithm& guess : guesses.algorithms) {
        add(handle, guess.algo, workspace_bytes, found);
      }
    }
    return found;
  }

  /// Adds an algorithm to others, if it is another one and does these rows.
  void add(lt::Handle handle, const lt::Algo& algo, size_t workspace_bytes,
           std::vector<ProductAlgorithm>& to) const {
    if (std::find(to.begin(), to.end(), ProductAlgorithm{algo}) != to.end()) return;
    const std::optional<size_t> bytes = workspace_of(handle, algo);
    if (bytes && *bytes <= workspace_bytes) to.push_back({algo, *bytes});
  }

 private:
  /// What the heuristic says: the best guess first.
  struct Guesses {
    std::vector<ProductAlgorithm> algorithms;
    lt::Status status;
  };

  /// Up to `wanted`, for layouts that may have other rows than the product.
  Guesses guesses_for(lt::Layout a, lt::Layout out, lt::Handle handle, size_t workspace_bytes,
                      int wanted) const {
    const Owned preference = make("preference", api_.preference_destroy,
                                  [&](void** out) { return api_.preference_create(out); });
    const auto prefer = [&](int attribute, const auto& value) {
      lt::check(api_.preference_set(preference.get(), attribute, &value, sizeof(value)),
                text_of(q_) + ", preference " + std::to_string(attribute));
    };
    prefer(lt::kPrefMaxWorkspace, static_cast<uint64_t>(workspace_bytes));
    prefer(lt::kPrefReductionMask, lt::kReductionInFloat);
    int attribute = lt::kPrefAlignmentA;
    for (const uint32_t alignment : alignments_of(q_)) prefer(attribute++, alignment);
    std::vector<lt::HeuristicResult> results(static_cast<size_t>(wanted));
    int found = 0;
    Guesses guesses;
    guesses.status = api_.heuristic(handle, desc_.get(), weight_.get(), a, out, out,
                                    preference.get(), wanted, results.data(), &found);
    if (guesses.status != lt::kSuccess) return guesses;
    for (const lt::HeuristicResult& result : std::span(results).first(static_cast<size_t>(found))) {
      if (result.state == lt::kSuccess) {
        guesses.algorithms.push_back({result.algo, result.workspace_size});
      }
    }
    if (guesses.algorithms.empty()) guesses.status = lt::kNotSupported;
    return guesses;
  }

  /// What it needs for these rows; none if it does not do them.
  std::optional<size_t> workspace_of(lt::Handle handle, const lt::Algo& algo) const {
    lt::HeuristicResult result{};
    const lt::Status status = api_.algo_check(handle, desc_.get(), weight_.get(), a_.get(),
                                              out_.get(), out_.get(), &algo, &result);
    if (status != lt::kSuccess || result.state != lt::kSuccess) return std::nullopt;
    return result.workspace_size;
  }

  template <class Create>
  Owned make(const char* what, lt::Status (*destroy)(void*), Create&& create) const {
    void* made = nullptr;
    lt::check(create(&made), text_of(q_) + ", " + what);
    return Owned(made, Deleter{destroy});
  }

  Owned layout(ElementType type, int64_t rows, int64_t columns, int64_t ld) const {
    return make("matrix layout", api_.layout_destroy, [&](void** out) {
      return api_.layout_create(out, data_type(type), static_cast<uint64_t>(rows),
                                static_cast<uint64_t>(columns), ld);
    });
  }

  template <class T>
  void set(int attribute, const T& value) const {
    lt::check(api_.matmul_desc_set(desc_.get(), attribute, &value, sizeof(value)),
              text_of(q_) + ", attribute " + std::to_string(attribute));
  }

  const lt::Functions& api_;
  const ProductRequest& q_;
  Owned desc_{nullptr, Deleter{nullptr}}, weight_{nullptr, Deleter{nullptr}};
  Owned a_{nullptr, Deleter{nullptr}}, out_{nullptr, Deleter{nullptr}};
};

ProductKey key_of(int device, const ProductRequest& q) {
  const auto align = alignments_of(q);
  return {{device, static_cast<int64_t>(q.type), static_cast<int64_t>(q.out_type), q.columns,
           static_cast<int64_t>(q.activation), q.depth, q.bias != nullptr ? 1 : 0, q.a_stride,
           q.residual == nullptr ? 0 : (q.residual == q.out ? 1 : 2), q.out_stride, align[0],
           align[1], align[2], align[3]},
          q.rows};
}

/// The process's.
ProductChoices& choices() { return never_destroyed<ProductChoices>(); }

/// One product is measured at a time: two would time each other.
std::mutex& measuring() { return never_destroyed<std::mutex>(); }

/// By how much another algorithm must beat the first guess: less is noise.
constexpr double kClearly = 0.98;

constexpr const char* kOpening = "opening cuBLASLt on the device";

int destroy_handle(void* handle) { return lt::functions().destroy(handle); }

}  // namespace

MatrixProducts::MatrixProducts()
    : device_(current_device()),
      workspace_(kWorkspaceBytes, "scratch memory of products"),
      counters_(kMostProducts * kCounterBytes, "counters of products"),
      handle_(nullptr, DestroyOnDevice(destroy_handle, kOpening)) {
  lt::Handle handle = nullptr;
  lt::check(lt::functions().create(&handle), kOpening);
  handle_.reset(handle);
}

std::span<unsigned char> MatrixProducts::workspace_for(const ProductAlgorithm& algorithm) {
  if (algorithm.workspace_bytes > kCounterBytes || next_ == kMostProducts) {
    return {workspace_.as<unsigned char>(), workspace_.bytes()};
  }
  return counters().subspan(kCounterBytes * static_cast<size_t>(next_++), kCounterBytes);
}

void MatrixProducts::run(const ProductRequest& request, Stream stream) {
  const Product product(request);
  const ProductKey key = key_of(device_, request);
  const std::optional<ProductChoice> choice = choices().find(key);
  const ProductAlgorithm algorithm =
      choice ? choice->algorithm
             : choices().settle(key, {product.first_guess(handle_.get(), workspace_.bytes())});
  product.run(handle_.get(), algorithm.algo, workspace_for(algorithm), stream);
}

std::vector<MatrixProducts::Candidate> MatrixProducts::measure(const ProductRequest& request,
                                                               Stream stream) {
  return measure(request, Product(request).candidates(handle_.get(), workspace_.bytes()), stream);
}

std::vector<MatrixProducts::Candidate> MatrixProducts::measure(
    const ProductRequest& request, std::span<const ProductAlgorithm> algorithms, Stream stream) {
  const Product product(request);
  const auto microseconds = [&](const ProductAlgorithm& algorithm, int calls, int launches) {
    restart_counters();
    const auto enqueue = [&] {
      product.run(handle_.get(), algorithm.algo, workspace_for(algorithm), stream);
    };
    const auto times = time_in_graph(stream, calls, launches, enqueue, counters());
    return *std::min_element(times.begin(), times.end());
  };
  constexpr size_t kFinalists = 4;
  std::vector<Candidate> candidates;
  for (const ProductAlgorithm& each : algorithms) {
    try {
      candidates.push_back({each, microseconds(each, 2, 1)});
    } catch (const Error&) {
      // The library said that it fits. Without the first there is nothing left to run.
      if (candidates.empty()) throw;
    }
  }
  std::vector<Candidate*> order;
  order.reserve(candidates.size());
  for (Candidate& candidate : candidates) order.push_back(&candidate);
  std::sort(order.begin(), order.end(), [](const Candidate* a, const Candidate* b) {
    return a->microseconds < b->microseconds;
  });
  for (size_t i = 0; i < order.size(); ++i) {
    double& best = order[i]->microseconds;
    const bool again = i < kFinalists || order[i] == &candidates.front();
    if (!again) continue;
    try {
      best = std::min(best, microseconds(order[i]->algorithm, 4, 3));
    } catch (const Error& error) {
      if (error.kind() != ErrorKind::kOutOfMemory) throw;  // a larger graph; the first time counts
    }
  }
  return candidates;
}

void MatrixProducts::tune(const ProductRequest& request, Stream stream) {
  const std::lock_guard lock(measuring());
  const Product product(request);
  const ProductKey key = key_of(device_, request);
  const std::optional<ProductChoice> choice = choices().find(key);
  const bool again = choice && choice->tuned;
  const auto [winners, known] = choices().winners(key, again ? choice->winners : 0);
  std::vector<ProductAlgorithm> algorithms;
  if (again) {
    algorithms.push_back(choice->algorithm);
  } else {
    algorithms = product.candidates(handle_.get(), workspace_.bytes());
  }
  for (const ProductAlgorithm& winner : winners) {
    product.add(handle_.get(), winner.algo, workspace_.bytes(), algorithms);
  }
  const bool nothing_new = again && algorithms.size() == 1;
  if (nothing_new) {
    choices().settle(key, {choice->algorithm, true, known});
    return;
  }
  const std::vector<Candidate> candidates = measure(request, algorithms, stream);
  const auto best = std::min_element(
      candidates.begin(), candidates.end(),
      [](const auto& a, const auto& b) { return a.microseconds < b.microseconds; });
  const bool clearly = best->microseconds < kClearly * candidates.front().microseconds;
  const Candidate& chosen = clearly ? *best : candidates.front();
  choices().settle(key, {chosen.algorithm, true, known});
}

}  // namespace tome::cuda
