"""`python -m benchmarks.wire.trace_picture TRACE.json .. --picture FILE.png`: tokens, drawn.

What ui.perfetto.dev shows of a file of `--trace`, on paper: a row a rank with what it works on,
above it what it exchanges and whom it waits for, and the messages as lines between the rows.
"""

from __future__ import annotations

import argparse
import json
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import matplotlib as mpl

mpl.use("Agg")
from matplotlib import pyplot as plt
from matplotlib.axes import Axes
from matplotlib.patches import Patch

from dllama_engine.tracing.perfetto import COMPUTE, EXCHANGE, STEPS

Event = dict[str, Any]

COLOURS = {
    "qkv": "#4c78a8", "attention": "#72b7b2", "output-projection": "#9ecae9",
    "feed-forward": "#1f4e79", "exchange-copy": "#b279a2", "logits": "#54a24b",
    "embedding": "#88d27a", "sampling": "#d67195", "detokenizing": "#eeca3b",
}  # fmt: skip
WIRE, WAITING, MESSAGE = "#f58518", "#d9d9d9", "#7f7f7f"
WORDS = {"qkv": "q, k, v", "output-projection": "output projection", "exchange-copy": "copying"}


@dataclass(frozen=True, slots=True)
class Window:
    """A part of a trace, its times in milliseconds from its begin."""

    events: Sequence[Event]
    begin_us: float
    end_us: float

    @classmethod
    def of_tokens(cls, events: Sequence[Event], first: int, n: int) -> Window:
        """From when the root begins its decoded token `first` (from 0) to the end of `n` tokens."""
        steps = [e for e in events if (e["ph"], e["pid"], e["tid"]) == ("X", 0, STEPS)]
        tokens = [step for step in steps if step["name"].startswith("token")][first : first + n]
        if not tokens:
            raise SystemExit(f"the trace has no token {first}")
        return cls(events, tokens[0]["ts"], tokens[-1]["ts"] + tokens[-1]["dur"])

    @property
    def ms(self) -> float:
        """How long it is."""
        return (self.end_us - self.begin_us) / 1e3

    def slices(self, rank: int, track: int) -> Iterator[tuple[str, float, float]]:
        """Name, begin and length of what lies in it, cut at its ends."""
        for event in self.events:
            if (event["ph"], event["pid"], event["tid"]) == ("X", rank, track):
                start = max(event["ts"], self.begin_us)
                end = min(event["ts"] + event["dur"], self.end_us)
                if end > start:
                    yield event["name"], (start - self.begin_us) / 1e3, (end - start) / 1e3

    def messages(self) -> Iterator[tuple[int, int, float, float]]:
        """From whom to whom, when it left and when it began to come."""
        left = {event["id"]: event for event in self.events if event["ph"] == "s"}
        for event in self.events:
            if event["ph"] == "f" and self.begin_us <= event["ts"] <= self.end_us:
                start = left[event["id"]]
                times = ((e["ts"] - self.begin_us) / 1e3 for e in (start, event))
                yield start["pid"], event["pid"], *times


def draw(window: Window, axes: Axes, title: str) -> None:
    """All ranks, the root's on top."""
    ranks = sorted({event["pid"] for event in window.events})
    for rank in ranks:
        for name, start, length in window.slices(rank, COMPUTE):
            colour = COLOURS.get(name, "black")
            axes.broken_barh([(start, length)], (rank - 0.05, 0.35), facecolors=colour)
        for name, start, length in window.slices(rank, EXCHANGE):
            colour = WAITING if name.startswith("wait") else WIRE
            axes.broken_barh([(start, length)], (rank - 0.35, 0.25), facecolors=colour)
    for source, target, start, end in window.messages():
        axes.plot([start, end], [source - 0.1, target - 0.35], color=MESSAGE, lw=0.4, alpha=0.6)
    axes.set_xlim(0, window.ms)
    axes.set_ylim(len(ranks) - 0.5, -0.5)
    axes.set_yticks(ranks, [f"rank {rank}" for rank in ranks])
    axes.set_xlabel("ms")
    axes.set_title(title, loc="left", fontsize=10)
    for side in ("top", "right"):
        axes.spines[side].set_visible(False)


def legend() -> list[Patch]:
    """What the colours are."""
    found = [Patch(color=c, label=WORDS.get(name, name)) for name, c in COLOURS.items()]
    return [*found, Patch(color=WIRE, label="exchanging"), Patch(color=WAITING, label="waiting")]


def main(argv: Sequence[str] | None = None) -> int:
    """Draw each trace in a panel of its own, all on the same scale of time."""
    options = _parser().parse_args(argv)
    windows = []
    for path in options.traces:
        events = json.loads(path.read_text("utf-8"))["traceEvents"]
        windows.append(Window.of_tokens(events, options.token, options.tokens))
    n_ranks = [len({event["pid"] for event in window.events}) for window in windows]
    height = sum(0.8 + 0.42 * n for n in n_ranks) + 0.6
    figure, panels = plt.subplots(
        len(windows), 1, figsize=(10, height), squeeze=False, layout="constrained",
        gridspec_kw={"height_ratios": [0.5 + n for n in n_ranks]},
    )  # fmt: skip
    titles = options.titles or [path.name for path in options.traces]
    longest = max(window.ms for window in windows)
    for window, axes, title in zip(windows, panels[:, 0], titles, strict=True):
        draw(window, axes, f"{title}: {window.ms:.2f} ms")
        axes.set_xlim(0, longest)
    figure.legend(handles=legend(), loc="outside lower center", ncols=6, frameon=False, fontsize=8)
    figure.savefig(options.picture, dpi=options.dpi)
    return 0


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        prog="python -m benchmarks.wire.trace_picture", description=__doc__
    )
    parser.add_argument("traces", nargs="+", type=Path, metavar="TRACE.json")
    parser.add_argument("--picture", type=Path, required=True, metavar="FILE.png")
    parser.add_argument("--titles", nargs="+", metavar="TEXT", help="one for each trace")
    parser.add_argument("--token", type=int, default=2, metavar="N", help="first token, from 0")
    parser.add_argument("--tokens", type=int, default=1, metavar="N", help="how many of them")
    parser.add_argument("--dpi", type=int, default=130)
    return parser


if __name__ == "__main__":
    raise SystemExit(main())
