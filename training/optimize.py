"""The training loop: rows of token ids in, a trained model out; it can stop and go on.

Knows nothing about text or about dllama's files. The last steps run with Q40 weights and Q80
buffers (straight-through gradients), so that the exported model loses next to nothing.
"""

from __future__ import annotations

import hashlib
import math
import time
from collections.abc import Callable
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

import torch
from torch import Tensor
from torch.nn import functional as F

from training.corpus import Rows
from training.llama import Llama
from training.shape import ModelShape


@dataclass(frozen=True, slots=True)
class Recipe:
    """Everything that decides the weights, apart from the rows themselves."""

    seed: int = 1
    steps: int = 3200
    quantized_steps: int = 400
    batch_rows: int = 2
    peak_lr: float = 2e-3
    final_lr: float = 5e-5
    warmup_steps: int = 100
    weight_decay: float = 0.1
    gradient_clip: float = 1.0
    n_threads: int = 2

    def lr(self, step: int) -> float:
        """Learning rate of one step: linear warm-up, then a cosine down to `final_lr`."""
        if step < self.warmup_steps:
            return self.peak_lr * (step + 1) / self.warmup_steps
        done = (step - self.warmup_steps) / max(self.steps - self.warmup_steps, 1)
        return self.final_lr + (self.peak_lr - self.final_lr) * 0.5 * (1 + math.cos(math.pi * done))

    def is_quantized(self, step: int) -> bool:
        """Whether a step belongs to the quantization-aware phase."""
        return step >= self.steps - self.quantized_steps


@dataclass(slots=True)
class Progress:
    """Where a run stands."""

    step: int = 0
    elapsed_s: float = 0.0
    losses: list[float] = field(default_factory=list)  # nats a token, one a step


class Run:
    """One training run over fixed rows; its state lives in `checkpoint` while it goes on."""

    def __init__(self, recipe: Recipe, shape: ModelShape, rows: Rows, checkpoint: Path) -> None:
        make_deterministic(recipe)
        self.recipe = recipe
        self.rows = torch.from_numpy(rows)
        self.checkpoint = checkpoint
        self.model = Llama(shape)
        self.optimizer = torch.optim.AdamW(_groups(self.model, recipe), betas=(0.9, 0.95))
        self.progress = Progress()

    def resume(self) -> None:
        """Go on from the checkpoint file, if there is one.

        Raises:
            ValueError: the checkpoint belongs to another recipe.
        """
        if self.checkpoint.exists():
            state: dict[str, Any] = torch.load(self.checkpoint, weights_only=True)
            if state["origin"] != self._origin():
                raise ValueError(
                    f"{self.checkpoint} was made from {state['origin']}, not from "
                    f"{self._origin()}; remove it or give another --work-dir"
                )
            self.model.load_state_dict(state["model"])
            self.optimizer.load_state_dict(state["optimizer"])
            self.progress = Progress(**state["progress"])

    def save(self) -> None:
        """Write the checkpoint and rename it into place."""
        state = {
            "origin": self._origin(),
            "model": self.model.state_dict(),
            "optimizer": self.optimizer.state_dict(),
            "progress": asdict(self.progress),
        }
        partial = self.checkpoint.with_suffix(".partial")
        torch.save(state, partial)
        partial.replace(self.checkpoint)

    def train(self, report: Callable[[str], None] = print, every: int = 50) -> None:
        """Run the steps that are left."""
        while self.progress.step < self.recipe.steps:
            self._timed_step()
            step = self.progress.step
            if step % every == 0 or step == self.recipe.steps:
                report(self._line(every))
            if step % (4 * every) == 0 or step == self.recipe.steps:
                self.save()

    def _origin(self) -> dict[str, Any]:
        """What a checkpoint must have been made from to be gone on with."""
        rows_sha256 = hashlib.sha256(self.rows.numpy().tobytes()).hexdigest()
        return asdict(self.recipe) | asdict(self.model.shape) | {"rows_sha256": rows_sha256}

    def _timed_step(self) -> None:
        start_s = time.perf_counter()
        loss = self._step(self.progress.step)
        self.progress.losses.append(loss)
        self.progress.step += 1
        self.progress.elapsed_s += time.perf_counter() - start_s

    def _step(self, step: int) -> float:
        quantized = self.recipe.is_quantized(step)
        self.model.set_quantized(weights=quantized, buffers=quantized)
        for group in self.optimizer.param_groups:
            group["lr"] = self.recipe.lr(step)
        loss = next_token_loss(self.model, self._batch(step))
        self.optimizer.zero_grad()
        torch.autograd.backward(loss)
        torch.nn.utils.clip_grad_norm_(self.model.parameters(), self.recipe.gradient_clip)
        self.optimizer.step()
        return float(loss.detach())

    def _batch(self, step: int) -> Tensor:
        """Rows (batch_rows, row_tokens) of a step; the rows are used in order, round and round."""
        first = step * self.recipe.batch_rows
        at = torch.arange(first, first + self.recipe.batch_rows) % len(self.rows)
        return self.rows[at]

    def _line(self, last: int) -> str:
        losses = self.progress.losses[-last:]
        return (
            f"step {self.progress.step}/{self.recipe.steps}  "
            f"loss {sum(losses) / len(losses):.4f}  {self.progress.elapsed_s:.0f} s"
        )


def make_deterministic(recipe: Recipe) -> None:
    """Fix everything that could make two runs on one machine differ."""
    torch.set_num_threads(recipe.n_threads)
    torch.use_deterministic_algorithms(True)
    torch.manual_seed(recipe.seed)


def next_token_loss(model: Llama, ids: Tensor) -> Tensor:
    """Mean cross-entropy in nats of ids (batch, time) after the first column."""
    logits = model(ids[:, :-1])
    return F.cross_entropy(logits.flatten(0, 1), ids[:, 1:].flatten())


def _groups(model: Llama, recipe: Recipe) -> list[dict[str, Any]]:
    """Matrices decay; norms and the embedding do not."""
    named = dict(model.named_parameters())
    kept = [p for name, p in named.items() if p.dim() == 1 or name == "embedding"]
    decayed = [p for name, p in named.items() if p.dim() > 1 and name != "embedding"]
    return [
        {"params": decayed, "weight_decay": recipe.weight_decay, "lr": recipe.peak_lr},
        {"params": kept, "weight_decay": 0.0, "lr": recipe.peak_lr},
    ]
