"""A Llama in PyTorch with the arithmetic of dllama, in f32 or with Q40 weights and Q80 buffers.

Knows nothing about files, text or optimizers.
"""

from __future__ import annotations

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from training.fake_quant import fake_q40, fake_q80
from training.shape import ModelShape


class Matrix(nn.Module):
    """A weight (rows, columns) without bias, rounded to Q40 when `quantized`."""

    def __init__(self, rows: int, columns: int, std: float) -> None:
        super().__init__()
        self.weight = nn.Parameter(torch.randn(rows, columns) * std)
        self.quantized = False

    def forward(self, x: Tensor) -> Tensor:
        """(..., columns) -> (..., rows)."""
        return F.linear(x, fake_q40(self.weight) if self.quantized else self.weight)


class Cast(nn.Module):
    """dllama's cast to the buffer type: Q80 when `quantized`, else nothing."""

    def __init__(self) -> None:
        super().__init__()
        self.quantized = False

    def forward(self, x: Tensor) -> Tensor:
        """Same shape in and out."""
        return fake_q80(x) if self.quantized else x


class Norm(nn.Module):
    """RMS norm over the last axis."""

    def __init__(self, dim: int, epsilon: float) -> None:
        super().__init__()
        self.weight = nn.Parameter(torch.ones(dim))
        self.epsilon = epsilon

    def forward(self, x: Tensor) -> Tensor:
        """Same shape in and out."""
        return F.rms_norm(x, self.weight.shape, self.weight, self.epsilon)


class Block(nn.Module):
    """One layer: attention and feed-forward, both added to the residual stream."""

    def __init__(self, shape: ModelShape, std: float) -> None:
        super().__init__()
        self.shape = shape
        dim, out_std = shape.dim, std / (2 * shape.n_layers) ** 0.5
        self.q = Matrix(dim, dim, std)
        self.k = Matrix(shape.kv_dim, dim, std)
        self.v = Matrix(shape.kv_dim, dim, std)
        self.wo = Matrix(dim, dim, out_std)
        self.w1 = Matrix(shape.hidden_dim, dim, std)
        self.w2 = Matrix(dim, shape.hidden_dim, out_std)
        self.w3 = Matrix(shape.hidden_dim, dim, std)
        self.attention_norm = Norm(dim, shape.norm_epsilon)
        self.ffn_norm = Norm(dim, shape.norm_epsilon)
        self.cast = Cast()

    def forward(self, x: Tensor, cos: Tensor, sin: Tensor) -> Tensor:
        """(batch, time, dim) -> the same."""
        x = x + self.cast(self.wo(self.cast(self._attention(x, cos, sin))))
        y = self.cast(self.ffn_norm(x))
        out: Tensor = x + self.cast(self.w2(self.cast(F.silu(self.w1(y)) * self.w3(y))))
        return out

    def _attention(self, x: Tensor, cos: Tensor, sin: Tensor) -> Tensor:
        batch, time, dim = x.shape
        y = self.cast(self.attention_norm(x))
        heads = (batch, time, -1, self.shape.head_dim)
        q = rotate(self.q(y).view(heads), cos, sin).transpose(
            1, 2
        )  # (batch, heads, time, head_dim)
        k = rotate(self.k(y).view(heads), cos, sin).transpose(1, 2)
        v = self.v(y).view(heads).transpose(1, 2)
        out = F.scaled_dot_product_attention(q, k, v, is_causal=True, enable_gqa=True)
        return out.transpose(1, 2).reshape(batch, time, dim)


class Llama(nn.Module):
    """The whole model; `set_quantized` switches between the f32 and the Q40/Q80 arithmetic."""

    def __init__(self, shape: ModelShape, std: float = 0.04) -> None:
        super().__init__()
        self.shape = shape
        self.embedding = nn.Parameter(torch.randn(shape.vocab_size, shape.dim) * std)
        self.blocks = nn.ModuleList(Block(shape, std) for _ in range(shape.n_layers))
        self.final_norm = Norm(shape.dim, shape.norm_epsilon)
        self.classifier = Matrix(shape.vocab_size, shape.dim, std)
        self.cast = Cast()
        self.cos, self.sin = rope_tables(shape)

    def forward(self, ids: Tensor) -> Tensor:
        """Token ids (batch, time) -> logits (batch, time, vocab_size)."""
        time = ids.shape[1]
        x = F.embedding(ids, self.embedding)
        for block in self.blocks:
            x = block(x, self.cos[:time], self.sin[:time])
        logits: Tensor = self.classifier(self.cast(self.final_norm(x)))
        return logits

    def set_quantized(self, weights: bool, buffers: bool) -> None:
        """Choose Q40 or f32 weights, and Q80 or f32 buffers, for every later call."""
        for module in self.modules():
            if isinstance(module, Matrix):
                module.quantized = weights
            elif isinstance(module, Cast):
                module.quantized = buffers


def rope_tables(shape: ModelShape) -> tuple[Tensor, Tensor]:
    """Cosine and sine of the Llama rope, both (seq_len, 1, head_dim / 2)."""
    pair = torch.arange(0, shape.head_dim, 2, dtype=torch.float64)
    frequency = float(shape.rope_theta) ** (-pair / shape.head_dim)
    angle = torch.arange(shape.seq_len, dtype=torch.float64)[:, None, None] * frequency
    return angle.cos().float(), angle.sin().float()


def rotate(x: Tensor, cos: Tensor, sin: Tensor) -> Tensor:
    """Rotate neighbours (2i, 2i+1) of x (batch, time, heads, head_dim)."""
    even, odd = x[..., 0::2], x[..., 1::2]
    return torch.stack((even * cos - odd * sin, even * sin + odd * cos), dim=-1).flatten(-2)
