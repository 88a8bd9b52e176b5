// On a device: a first kernel, and what threads of an application's notice of us.
#include <dlfcn.h>
#include <gtest/gtest.h>

#include <thread>

#include "cuda/device.h"
#include "cuda/needs_device.h"
#include "cuda/stream.h"
#include "tome_error.h"

namespace tome::testing {
namespace {

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

}  // namespace
}  // namespace tome::testing
