"""Q40 and Q80 rounding inside PyTorch, with a straight-through gradient.

Mirrors the plain numpy `dllama_engine.formats.quants`; the f16 rounding of the block scale is
included.
"""

from __future__ import annotations

import torch
from torch import Tensor

BLOCK = 32


def fake_q40(x: Tensor) -> Tensor:
    """Round `x` (..., multiple of 32) as Q40 blocks do; the gradient passes unchanged."""
    with torch.no_grad():
        blocks = x.reshape(-1, BLOCK)
        at = blocks.abs().argmax(dim=1, keepdim=True)
        delta = blocks.gather(1, at) / -8.0
        inverse = torch.where(delta == 0, torch.zeros_like(delta), 1.0 / delta)
        nibbles = torch.floor(blocks * inverse + 8.5).clamp_(0, 15)
        rounded = ((nibbles - 8.0) * delta.half().float()).reshape(x.shape)
    return x + (rounded - x).detach()


def fake_q80(x: Tensor) -> Tensor:
    """Round `x` (..., multiple of 32) as Q80 blocks do; the gradient passes unchanged."""
    with torch.no_grad():
        blocks = x.reshape(-1, BLOCK)
        delta = blocks.abs().amax(dim=1, keepdim=True) / 127.0
        inverse = torch.where(delta == 0, torch.zeros_like(delta), 1.0 / delta)
        rounded = (torch.round(blocks * inverse) * delta.half().float()).reshape(x.shape)
    return x + (rounded - x).detach()
