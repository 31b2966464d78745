"""The model card: every number in it is measured by the run that writes it.

The card is Markdown for people; its last block is the same facts as JSON for programs.
"""

from __future__ import annotations

import hashlib
import json
import re
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

JSON_BLOCK = re.compile(r"^```json\n(.*?)^```$", re.DOTALL | re.MULTILINE)


@dataclass(frozen=True, slots=True)
class FileFacts:
    """One shipped file."""

    name: str
    size_bytes: int
    sha256: str

    @classmethod
    def of(cls, path: Path) -> FileFacts:
        """Measure a file."""
        content = path.read_bytes()
        return cls(path.name, len(content), hashlib.sha256(content).hexdigest())


@dataclass(frozen=True, slots=True)
class Perplexities:
    """Held-out perplexity of one checkpoint in both arithmetics, measured by one program."""

    measured_with: str
    n_stories: int
    n_tokens: int
    f32: float
    q40_q80: float

    @property
    def change_percent(self) -> float:
        """How much worse Q40/Q80 is than f32; negative when it is better."""
        return 100 * (self.q40_q80 / self.f32 - 1)


@dataclass(frozen=True, slots=True)
class Sample:
    """One greedy continuation by the shipped files."""

    prompt: str
    continuation: str
    ended: bool


@dataclass(frozen=True, slots=True)
class Consistency:
    """How many greedy stories, one for every hero, are right in all the ways a program can see."""

    n_stories: int
    n_ended: int
    n_in_vocabulary: int
    n_same_people: int


@dataclass(frozen=True, slots=True)
class CardFacts:
    """Everything the card states."""

    command: str
    torch: str
    recipe: dict[str, Any]
    shape: dict[str, Any]
    n_parameters: int
    n_training_stories: int
    n_held_out_stories: int
    n_words: int
    n_training_tokens: int
    training_s: float
    final_loss: float
    perplexities: tuple[Perplexities, ...]
    consistency: Consistency
    samples: tuple[Sample, ...]
    files: tuple[FileFacts, ...]


def render(facts: CardFacts) -> str:
    """The whole card."""
    return TEMPLATE.format(
        f=facts,
        shape=facts.shape,
        recipe=facts.recipe,
        minutes=facts.training_s / 60,
        perplexities="\n".join(_perplexity_row(row) for row in facts.perplexities),
        samples="\n\n".join(f"> **{s.prompt}**{s.continuation}" for s in facts.samples),
        files="\n".join(f"| {f.name} | {f.size_bytes} | `{f.sha256}` |" for f in facts.files),
        json=json.dumps(asdict(facts), indent=2),
    )


def read_facts(card: str) -> dict[str, Any]:
    """The JSON block of a card."""
    block = JSON_BLOCK.search(card)
    if block is None:
        raise ValueError("the card has no ```json block; write it again with training.train")
    facts: dict[str, Any] = json.loads(block[1])
    return facts


def _perplexity_row(row: Perplexities) -> str:
    return (
        f"| {row.measured_with} | {row.n_stories} | {row.n_tokens} | {row.f32:.4f} "
        f"| {row.q40_q80:.4f} | {row.change_percent:+.2f} % |"
    )


TEMPLATE = """\
# tiny: the model that ships with pytest-dllama

A small Llama that tells simple English stories. It exists so that every part of the lab can run a
real model with real text at once, without a download: the loader, the kernels, every node count,
and above all the proof that the output is still right. Its text makes a broken run visible to
anybody who can read.

Try it with `--model tiny --prompt "One morning, Mina"`.

## What it is

| | |
|---|---|
| architecture | Llama: RMS norm, rope over neighbours, SiLU gate, no biases, untied classifier |
| dim, hidden_dim, n_layers | {shape[dim]}, {shape[hidden_dim]}, {shape[n_layers]} |
| n_heads, n_kv_heads, head_dim | {shape[n_heads]}, {shape[n_kv_heads]}, {shape[head_dim]} |
| vocab_size, seq_len | {shape[vocab_size]}, {shape[seq_len]} |
| parameters | {f.n_parameters} |
| weights | Q40 matrices; embedding and norms f32 |
| tokenizer | byte-level BPE: 256 bytes, merges to 1022, then `<s>` 1022 and `</s>` 1023 |

## How it was made

    {f.command}

One command makes the stories, learns the tokenizer, trains, exports, measures and writes this card.
Nothing is downloaded. The stories come from a grammar (`training/grammar/`,
`training/world.py`): a hero, a friend, places and things that stay the same from the first
sentence to the last.

| | |
|---|---|
| PyTorch | {f.torch}, CPU, {recipe[n_threads]} threads, deterministic algorithms |
| seed | {recipe[seed]} |
| stories | {f.n_training_stories} for training, {f.n_held_out_stories} held out, no two the same |
| distinct words of the grammar | {f.n_words} |
| training tokens | {f.n_training_tokens} |
| steps | {recipe[steps]}, the last {recipe[quantized_steps]} with Q40 weights and Q80 buffers |
| training time | {minutes:.1f} minutes |
| final training loss | {f.final_loss:.4f} nats a token (mean of the last 50 steps) |

Names, colors and turns of the plot are free choices of the grammar, so no loss can reach zero. The
time is that of the training steps alone, on a machine that did other work too. The same command on
the same machine and PyTorch gives the same files; another processor may round differently.

## Held-out perplexity

What is compared: the **f32 weights of the final checkpoint run with f32 buffers**, against the
**exported Q40 weights run with Q80 buffers**. Each held-out story stands alone after `<s>`; every
token after it counts.

| measured with | stories | tokens | f32 | Q40/Q80 | change |
|---|---|---|---|---|---|
{perplexities}

## Samples

Greedy continuations by the files below (Q40 weights, Q80 buffers); the prompt is in bold.

{samples}

Of {f.consistency.n_stories} greedy stories, "One morning," and each name of the grammar once,
{f.consistency.n_ended} end by themselves, {f.consistency.n_in_vocabulary} use only the grammar's
words, and {f.consistency.n_same_people} name one hero and one other person and nobody else.

## Intended use and limits

For tests, demonstrations and measurements of distributed inference: does every node count give the
same text, and how long does it take? It is too small to measure a real machine's speed with; use a
synthetic model of a real shape for that.

It knows the few hundred words of its grammar and nothing about the world. Text outside the grammar
is encoded (every byte is a token) but what follows is a story again. It may mix up people, above
all where the likeliest friend has the hero's own name. It has no chat format. After `</s>` it
begins another story. It was trained on rows of {shape[seq_len]} tokens.

## Files

| file | bytes | sha256 |
|---|---|---|
{files}

## The same facts for programs

```json
{json}
```
"""
