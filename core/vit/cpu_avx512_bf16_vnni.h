// AVX-512 with its products of bfloat16 and of bytes: the target, its vectors, elements and bytes.
#pragma once

#define TOME_SIMD \
  __attribute__((target("avx512f,avx512bw,avx512vl,avx512dq,avx512bf16,avx512vnni,fma")))

// What the kernels' bodies use, before they come.
#include <array>
#include <utility>

// The vectors come before what is written with them.
// clang-format off
#include "vit/cpu_simd_avx512.h"
#include "vit/cpu_bf16_element.h"
#include "vit/cpu_bytes_avx512.h"
// clang-format on
