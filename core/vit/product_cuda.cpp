#include "vit/product_cuda.h"

#include <algorithm>
#include <memory>
#include <string>

#include "error.h"

namespace tome::cuda {
namespace {

/// What cuBLAS recommends for Hopper; earlier devices need less.
constexpr size_t kWorkspaceBytes = size_t{32} << 20;

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

  void run(lt::Handle handle, const DeviceMemory& workspace, Stream stream) const {
    const lt::Algo algo = choose(handle, workspace.bytes());
    const float one = 1, beta = q_.residual != nullptr ? 1 : 0;
    const void* added = q_.residual != nullptr ? q_.residual : q_.out;
    lt::check(api_.matmul(handle, desc_.get(), &one, q_.weight, weight_.get(), q_.a, a_.get(),
                          &beta, added, out_.get(), q_.out, out_.get(), &algo, workspace.data(),
                          workspace.bytes(), stream),
              text_of(q_));
  }

 private:
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

  lt::Algo choose(lt::Handle handle, size_t workspace_bytes) const {
    const Owned preference = make("preference", api_.preference_destroy,
                                  [&](void** out) { return api_.preference_create(out); });
    const auto prefer = [&](int attribute, const auto& value) {
      lt::check(api_.preference_set(preference.get(), attribute, &value, sizeof(value)),
                text_of(q_) + ", preference " + std::to_string(attribute));
    };
    prefer(lt::kPrefMaxWorkspace, static_cast<uint64_t>(workspace_bytes));
    prefer(lt::kPrefReductionMask, lt::kReductionInFloat);
    const void* added = q_.residual != nullptr ? q_.residual : q_.out;
    int attribute = lt::kPrefAlignmentA;
    for (const void* p : {q_.weight, q_.a, added, static_cast<const void*>(q_.out)}) {
      prefer(attribute++, alignment_of(p));
    }
    lt::HeuristicResult result{};
    int found = 0;
    lt::check(api_.heuristic(handle, desc_.get(), weight_.get(), a_.get(), out_.get(), out_.get(),
                             preference.get(), 1, &result, &found),
              text_of(q_) + ", choosing an algorithm");
    if (found == 0) lt::check(lt::kNotSupported, text_of(q_) + ", choosing an algorithm");
    return result.algo;
  }

  const lt::Functions& api_;
  const ProductRequest& q_;
  Owned desc_{nullptr, Deleter{nullptr}}, weight_{nullptr, Deleter{nullptr}};
  Owned a_{nullptr, Deleter{nullptr}}, out_{nullptr, Deleter{nullptr}};
};

}  // namespace

MatrixProducts::MatrixProducts() : workspace_(kWorkspaceBytes, "scratch memory of products") {
  lt::check(lt::functions().create(&handle_), "opening cuBLASLt on the device");
}

MatrixProducts::~MatrixProducts() {
  if (handle_ != nullptr) lt::functions().destroy(handle_);
}

void MatrixProducts::run(const ProductRequest& request, Stream stream) {
  Product(request).run(handle_, workspace_, stream);
}

}  // namespace tome::cuda
