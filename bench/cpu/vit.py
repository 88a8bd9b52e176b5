"""A Vision Transformer in plain PyTorch with fused attention, and the same with token merging: what a
Python user has. Random weights. Written from the papers (Dosovitskiy et al. 2021; Bolya et al. 2023).
"""

import torch
from torch import nn
from torch.nn import functional as F

SHAPES = {  # dim, depth, heads, picture, tubelets of 2 frames
    "vit_tiny_patch16_224": (192, 12, 3, 224, 0),
    "vit_small_patch16_224": (384, 12, 6, 224, 0),
    "vit_base_patch16_224": (768, 12, 12, 224, 0),
    "vit_large_patch16_384": (1024, 24, 16, 384, 0),
    "video_vit_base": (768, 12, 12, 224, 8),
    "video_vit_large": (1024, 24, 16, 224, 8),
}


def merge(x, size, metric, r, first):
    """Joins the r most similar pairs of even and odd tokens, weighted by their sizes; the first
    `first` tokens never leave. x [B, N, C], size [B, N, 1] -> [B, N - r, C], [B, N - r, 1]"""
    metric = F.normalize(metric, dim=-1)
    scores = metric[:, ::2] @ metric[:, 1::2].transpose(1, 2)
    if first:
        scores[:, 0] = -torch.inf
    r = min(r, (x.shape[1] - first) // 2)
    best, partner = scores.max(-1)
    order = best.argsort(-1, descending=True)
    kept = order[:, r:].sort(-1).values.unsqueeze(-1)
    gone = order[:, :r]
    into = partner.gather(1, gone).unsqueeze(-1)
    gone = gone.unsqueeze(-1)

    def join(values):
        even, odd = values[:, ::2], values[:, 1::2]
        width = values.shape[-1]
        odd = odd.scatter_add(1, into.expand(-1, -1, width), even.gather(1, gone.expand(-1, -1, width)))
        return torch.cat([even.gather(1, kept.expand(-1, -1, width)), odd], 1)

    total = join(size)
    return join(x * size) / total, total


class Block(nn.Module):
    def __init__(self, dim, heads):
        super().__init__()
        self.heads = heads
        self.norm1, self.norm2 = nn.LayerNorm(dim, eps=1e-6), nn.LayerNorm(dim, eps=1e-6)
        self.qkv, self.proj = nn.Linear(dim, 3 * dim), nn.Linear(dim, dim)
        self.fc1, self.fc2 = nn.Linear(dim, 4 * dim), nn.Linear(4 * dim, dim)

    def forward(self, x, size=None, r=0, first=1, proportional=True):
        b, n, dim = x.shape
        qkv = self.qkv(self.norm1(x)).view(b, n, 3, self.heads, dim // self.heads)
        q, k, v = qkv.permute(2, 0, 3, 1, 4).unbind(0)
        bias = None
        if size is not None and proportional:
            bias = size.log().to(x.dtype).view(b, 1, 1, n)
        y = F.scaled_dot_product_attention(q, k, v, attn_mask=bias)
        x = x + self.proj(y.transpose(1, 2).reshape(b, n, dim))
        if r:
            if size is None:
                size = torch.ones(b, n, 1, dtype=x.dtype)
            x, size = merge(x, size, k.mean(1), r, first)
        return x + self.fc2(F.gelu(self.fc1(self.norm2(x)))), size


class ViT(nn.Module):
    """Patch rows [B, patches, 3 * 16 * 16 (* 2)] to logits."""

    def __init__(self, name, r=0):
        super().__init__()
        dim, depth, heads, picture, tubelets = SHAPES[name]
        patches = (picture // 16) ** 2 * max(tubelets, 1)
        self.first = 0 if tubelets else 1
        self.r = r
        self.input_shape = (patches, 768 * (2 if tubelets else 1))
        self.embed = nn.Linear(self.input_shape[1], dim)
        self.cls = nn.Parameter(torch.zeros(1, self.first, dim))
        self.pos = nn.Parameter(torch.randn(1, patches + self.first, dim) * 0.02)
        self.blocks = nn.ModuleList(Block(dim, heads) for _ in range(depth))
        self.norm, self.head = nn.LayerNorm(dim, eps=1e-6), nn.Linear(dim, 400 if tubelets else 1000)

    def forward(self, x):
        x = self.embed(x)
        if self.first:
            x = torch.cat([self.cls.expand(x.shape[0], -1, -1), x], 1)
        x, size = x + self.pos, None
        for block in self.blocks:
            # as the checkpoints of clips were trained, their attention is not weighted by size
            x, size = block(x, size, self.r, self.first, proportional=bool(self.first))
        x = x[:, 0] if self.first else x.mean(1)
        return self.head(self.norm(x))
