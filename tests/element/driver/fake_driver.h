// A stand-in for the NVIDIA driver (libcuda.so.1) over host memory, so that GStreamer's own CUDA
// library runs where there is no GPU. It has three devices, counts copies between "device" and
// host, and can be told to fail. Nothing in it computes.
#pragma once

#include <cstddef>

extern "C" {

/// Copies from device to host since the last reset.
int fake_driver_downloads();
/// Waits for a stream since the last reset.
int fake_driver_waits();
/// Allocations of device memory that were not freed.
int fake_driver_allocations();
/// The next retains of a primary context fail with this CUresult; 0: they succeed.
void fake_driver_fail_retain(int result);
/// The CUcontext handle that is the primary one of a device.
void* fake_driver_primary(int device);
/// Counters to zero, no failures.
void fake_driver_reset();
}
