// Our declarations of cuBLASLt against its header, where there is one, and against the library,
// where it can be opened: descriptors need no device.
#include "cuda/cublas_lt.h"

#include <ATen/Parallel.h>
#include <dlfcn.h>
#include <gtest/gtest.h>

#include <filesystem>

#include "tome_error.h"

#if __has_include(<cublasLt.h>)
#include <cublasLt.h>

namespace lt = tome::cuda::lt;

static_assert(lt::kSuccess == CUBLAS_STATUS_SUCCESS);
static_assert(lt::kAllocFailed == CUBLAS_STATUS_ALLOC_FAILED);
static_assert(lt::kNotSupported == CUBLAS_STATUS_NOT_SUPPORTED);
static_assert(lt::kReal32F == CUDA_R_32F);
static_assert(lt::kReal16F == CUDA_R_16F);
static_assert(lt::kReal16BF == CUDA_R_16BF);
static_assert(lt::kCompute32F == CUBLAS_COMPUTE_32F);
static_assert(lt::kOpN == CUBLAS_OP_N && lt::kOpT == CUBLAS_OP_T);
static_assert(lt::kDescTransA == CUBLASLT_MATMUL_DESC_TRANSA);
static_assert(lt::kDescTransB == CUBLASLT_MATMUL_DESC_TRANSB);
static_assert(lt::kDescEpilogue == CUBLASLT_MATMUL_DESC_EPILOGUE);
static_assert(lt::kDescBiasPointer == CUBLASLT_MATMUL_DESC_BIAS_POINTER);
static_assert(lt::kEpilogueDefault == CUBLASLT_EPILOGUE_DEFAULT);
static_assert(lt::kEpilogueBias == CUBLASLT_EPILOGUE_BIAS);
static_assert(lt::kEpilogueRelu == CUBLASLT_EPILOGUE_RELU);
static_assert((lt::kEpilogueRelu | lt::kEpilogueBias) == CUBLASLT_EPILOGUE_RELU_BIAS);
static_assert(lt::kEpilogueGelu == CUBLASLT_EPILOGUE_GELU);
static_assert((lt::kEpilogueGelu | lt::kEpilogueBias) == CUBLASLT_EPILOGUE_GELU_BIAS);
static_assert(lt::kPrefMaxWorkspace == CUBLASLT_MATMUL_PREF_MAX_WORKSPACE_BYTES);
static_assert(lt::kPrefReductionMask == CUBLASLT_MATMUL_PREF_REDUCTION_SCHEME_MASK);
static_assert(lt::kPrefAlignmentA == CUBLASLT_MATMUL_PREF_MIN_ALIGNMENT_A_BYTES);
static_assert(lt::kPrefAlignmentA + 1 == CUBLASLT_MATMUL_PREF_MIN_ALIGNMENT_B_BYTES);
static_assert(lt::kPrefAlignmentA + 2 == CUBLASLT_MATMUL_PREF_MIN_ALIGNMENT_C_BYTES);
static_assert(lt::kPrefAlignmentA + 3 == CUBLASLT_MATMUL_PREF_MIN_ALIGNMENT_D_BYTES);
static_assert(lt::kReductionInFloat ==
              (CUBLASLT_REDUCTION_SCHEME_NONE | CUBLASLT_REDUCTION_SCHEME_COMPUTE_TYPE));
static_assert(sizeof(lt::Algo) == sizeof(cublasLtMatmulAlgo_t));
static_assert(sizeof(lt::HeuristicResult) == sizeof(cublasLtMatmulHeuristicResult_t));
static_assert(offsetof(lt::HeuristicResult, workspace_size) ==
              offsetof(cublasLtMatmulHeuristicResult_t, workspaceSize));
static_assert(offsetof(lt::HeuristicResult, state) ==
              offsetof(cublasLtMatmulHeuristicResult_t, state));
static_assert(sizeof(cublasStatus_t) == sizeof(lt::Status));
static_assert(sizeof(cublasLtMatmulDescAttributes_t) == sizeof(int));
static_assert(sizeof(cublasOperation_t) == sizeof(lt::kOpT));
static_assert(sizeof(cublasLtEpilogue_t) == sizeof(lt::kEpilogueBias));
#endif

namespace tome::testing {
namespace {

namespace lt = cuda::lt;

TEST(CublasLt, DescriptorsAndPreferencesTakeOurAttributes) {
  const lt::Functions* api = nullptr;
  try {
    api = &lt::functions();
  } catch (const Error& error) {
    EXPECT_EQ(error.kind(), ErrorKind::kDevice);
    EXPECT_NE(std::string(error.what()).find("cuBLASLt"), std::string::npos) << error.what();
    GTEST_SKIP() << error.what();
  }
  EXPECT_GE(api->version(), 130000U);
  lt::MatmulDesc desc = nullptr;
  ASSERT_EQ(api->matmul_desc_create(&desc, lt::kCompute32F, lt::kReal32F), lt::kSuccess);
  const uint32_t epilogue = lt::kEpilogueGelu | lt::kEpilogueBias;
  const void* bias = &epilogue;
  EXPECT_EQ(api->matmul_desc_set(desc, lt::kDescTransA, &lt::kOpT, sizeof(lt::kOpT)), lt::kSuccess);
  EXPECT_EQ(api->matmul_desc_set(desc, lt::kDescTransB, &lt::kOpN, sizeof(lt::kOpN)), lt::kSuccess);
  EXPECT_EQ(api->matmul_desc_set(desc, lt::kDescEpilogue, &epilogue, sizeof(epilogue)),
            lt::kSuccess);
  EXPECT_EQ(api->matmul_desc_set(desc, lt::kDescBiasPointer, &bias, sizeof(bias)), lt::kSuccess);
  lt::Layout layout = nullptr;
  ASSERT_EQ(api->layout_create(&layout, lt::kReal16BF, 768, 197, 768), lt::kSuccess);
  lt::Preference preference = nullptr;
  ASSERT_EQ(api->preference_create(&preference), lt::kSuccess);
  const uint64_t bytes = uint64_t{32} << 20;
  const uint32_t alignment = 16;
  EXPECT_EQ(api->preference_set(preference, lt::kPrefMaxWorkspace, &bytes, sizeof(bytes)),
            lt::kSuccess);
  EXPECT_EQ(api->preference_set(preference, lt::kPrefReductionMask, &lt::kReductionInFloat,
                                sizeof(lt::kReductionInFloat)),
            lt::kSuccess);
  for (int i = 0; i < 4; ++i) {
    EXPECT_EQ(
        api->preference_set(preference, lt::kPrefAlignmentA + i, &alignment, sizeof(alignment)),
        lt::kSuccess);
  }
  api->preference_destroy(preference);
  api->layout_destroy(layout);
  api->matmul_desc_destroy(desc);
}

std::filesystem::path library_of(const void* address) {
  Dl_info info{};
  return dladdr(address, &info) != 0 ? std::filesystem::path(info.dli_fname) : "";
}

/// Whatever else the library path has: LibTorch's cuBLAS goes with no other version.
TEST(CublasLt, IsTheOneThatLibTorchCameWith) {
  const auto torch = library_of(reinterpret_cast<const void*>(&at::get_num_threads));
  const auto own = torch.parent_path() / "../../nvidia/cu13/lib/libcublasLt.so.13";
  if (!std::filesystem::exists(own)) GTEST_SKIP() << "no " << own;
  const auto opened = library_of(reinterpret_cast<const void*>(lt::functions().version));
  EXPECT_EQ(std::filesystem::canonical(opened), std::filesystem::canonical(own));
}

TEST(CublasLt, StatusesAreErrorsOfTheirKind) {
  EXPECT_NO_THROW(lt::check(lt::kSuccess, "product"));
  try {
    lt::check(lt::kAllocFailed, "product");
    FAIL();
  } catch (const Error& error) {
    EXPECT_EQ(error.kind(), ErrorKind::kOutOfMemory);
  }
  try {
    lt::check(lt::kNotSupported, "product");
    FAIL();
  } catch (const Error& error) {
    EXPECT_EQ(error.kind(), ErrorKind::kDevice);
    EXPECT_NE(std::string(error.what()).find("product: cuBLAS status 15"), std::string::npos);
  }
}

}  // namespace
}  // namespace tome::testing
