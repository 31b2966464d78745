"""The shape of the model that ships: plain numbers, needs no PyTorch."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class ModelShape:
    """Dimensions of a Llama as dllama names them."""

    dim: int = 256
    hidden_dim: int = 768
    n_layers: int = 6
    n_heads: int = 8
    n_kv_heads: int = 8
    vocab_size: int = 1024
    seq_len: int = 512
    rope_theta: int = 10000
    norm_epsilon: float = 1e-5

    def __post_init__(self) -> None:
        """Check what the forward pass takes for granted."""
        if self.dim % self.n_heads or self.n_heads % self.n_kv_heads or self.head_dim % 2:
            raise ValueError(f"{self} does not divide into heads of an even size")

    @property
    def head_dim(self) -> int:
        """Values per head."""
        return self.dim // self.n_heads

    @property
    def kv_dim(self) -> int:
        """Values of all key heads of one token."""
        return self.n_kv_heads * self.head_dim
