"""Attention with log s by libraries, on the shapes of bench/gpu/kernels.cpp: JSON Lines on stdout.

Every way computes softmax(Q K^T / sqrt(d) + log s) V on q, k and v as they lie in the rows of a QKV
product. `plain` has no bias: what the library's kernels do at their best.
"""

import json
import math
import sys

import torch
from torch.nn import functional as F
from torch.nn.attention import SDPBackend, sdpa_kernel

CELLS = {"vit_small_b128": (6, 197, 128), "vit_base_b1": (12, 197, 1), "vit_base_b128": (12, 197, 128),
         "vit_large_b128": (16, 197, 128), "vit_large_b128_late": (16, 61, 128), "vit_large_384_b32": (16, 577, 32),
         "video_large_b1": (16, 1568, 1), "video_large_b8": (16, 1568, 8), "video_large_b8_late": (16, 528, 8)}
DIM = 64


def microseconds(run, calls=10, launches=7):
    """Of one call; calls are captured into a graph, so that launches are not in the time."""
    stream = torch.cuda.Stream()
    with torch.cuda.stream(stream):
        for _ in range(3):
            run()
        stream.synchronize()
        graph = torch.cuda.CUDAGraph()
        with torch.cuda.graph(graph, stream=stream):
            for _ in range(calls):
                run()
        times = []
        for _ in range(launches):
            begin, end = (torch.cuda.Event(enable_timing=True) for _ in range(2))
            begin.record()
            graph.replay()
            end.record()
            end.synchronize()
            times.append(1000 * begin.elapsed_time(end) / calls)
    return sorted(times)[launches // 2]


def widened(q, k, v, bias, width):
    """Head dimensions of `width` channels that carry the bias in a high and a low bf16 part."""
    high = (bias * math.sqrt(DIM)).to(q.dtype)
    low = (bias * math.sqrt(DIM) - high.float()).to(q.dtype)
    shape = (*q.shape[:-1], width)
    wide_q, wide_k, wide_v = (torch.zeros(shape, dtype=q.dtype, device=q.device) for _ in range(3))
    wide_q[..., :DIM], wide_k[..., :DIM], wide_v[..., :DIM] = q, k, v
    wide_q[..., DIM:DIM + 2] = 1
    wide_k[..., DIM], wide_k[..., DIM + 1] = high[:, None], low[:, None]
    return wide_q, wide_k, wide_v


def measure(name, heads, tokens, batch):
    qkv = torch.randn(batch, tokens, 3 * heads * DIM + DIM, device="cuda", dtype=torch.bfloat16)
    q, k, v = (qkv[..., i * heads * DIM:(i + 1) * heads * DIM].view(batch, tokens, heads, DIM).transpose(1, 2)
               for i in range(3))
    bias = torch.randint(1, 9, (batch, tokens), device="cuda").float().log()
    mask = bias.to(q.dtype)[:, None, None, :].expand(batch, heads, tokens, tokens)
    wide = {width: widened(q, k, v, bias, width) for width in (72, 80)}
    scale = 1 / math.sqrt(DIM)
    ways = [("flash, plain", SDPBackend.FLASH_ATTENTION, (q, k, v), {}),
            ("cuDNN, plain", SDPBackend.CUDNN_ATTENTION, (q, k, v), {}),
            ("cuDNN, broadcast bias", SDPBackend.CUDNN_ATTENTION, (q, k, v), {"attn_mask": mask}),
            ("efficient, broadcast bias", SDPBackend.EFFICIENT_ATTENTION, (q, k, v), {"attn_mask": mask}),
            ("flash, 72 channels", SDPBackend.FLASH_ATTENTION, wide[72], {}),
            ("cuDNN, 80 channels", SDPBackend.CUDNN_ATTENTION, wide[80], {})]
    flops = 4.0 * batch * heads * tokens * tokens * DIM
    for way, backend, operands, extra in ways:
        row = {"cell": name, "operation": way}
        try:
            with sdpa_kernel(backend), torch.inference_mode():
                us = microseconds(lambda: F.scaled_dot_product_attention(*operands, scale=scale, **extra))
            row |= {"us": round(us, 2), "tflops": round(flops / us * 1e-6, 1)}
        except (RuntimeError, AssertionError) as error:
            row["error"] = str(error).strip().splitlines()[0][:150]
        print(json.dumps(row), flush=True)


for cell in sys.argv[1:] or CELLS:
    measure(cell, *CELLS[cell])
