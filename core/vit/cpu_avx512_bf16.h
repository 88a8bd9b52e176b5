// AVX-512 with its bf16 products: the target, its vectors and its elements.
#pragma once

#define TOME_SIMD __attribute__((target("avx512f,avx512bw,avx512vl,avx512dq,avx512bf16,fma")))

// What the kernels' bodies use, before they come.
#include <array>
#include <iterator>
#include <utility>

// The vectors come before what is written with them.
// clang-format off
#include "vit/cpu_simd_avx512.h"
#include "vit/cpu_bf16_element.h"
// clang-format on
