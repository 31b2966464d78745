"""The options: one declaration gives flag, ini key, help and parser.

How flags are spelled is `config.flags`'; what ini files hold, `config.ini_values`'; what is made of
all of them, `config.settings`'.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

from pytest_dllama.config.baseline import (
    AUTO,
    CALIBRATION_PAIRS,
    parse_calibration,
    parse_looks,
    parse_order_seed,
    parse_requests,
    parse_tolerated,
)
from pytest_dllama.config.exchange import (
    COLLECTIVE_FORM,
    MESH,
    OFF,
    OVERLAP_FORM,
    collective,
    overlap,
)
from pytest_dllama.config.sweeps import parse_depths, parse_sizes, parse_sweep
from pytest_dllama.config.values import (
    BUFFER_FLOAT_TYPES,
    DEFAULT_PROMPT,
    KV_TYPES,
    LARGEST_SEED,
    SHIPPED_MODEL,
    SYNC_MODES,
    at_least,
    number,
    one_of,
    parse_node_counts,
    prompt_text,
    some_of,
    text_of,
    two_at_least,
    words_of,
    yes_or_no,
)

HISTORY_AUTO, HISTORY_OFF = "auto", "off"


@dataclass(frozen=True, slots=True)
class Setting:
    """One option: `--dllama-{name}`, `--{name}` where it is free, the ini key `dllama_{name}`."""

    name: str
    metavar: str  # empty: a switch
    default: str
    help: str
    parse: Callable[[str], Any]
    is_repeatable: bool = False  # each further flag adds to the value
    bare: str = ""  # what the flag means without a text; empty: it needs one

    @property
    def flag(self) -> str:
        """As typed on the command line, where nobody else declared it."""
        return f"--{self.name}"

    @property
    def long_flag(self) -> str:
        """The spelling that is ours in every environment."""
        return f"--dllama-{self.name.removeprefix('dllama-')}"

    @property
    def form(self) -> str:
        """What stands behind the flag: `N`, `[N]` where it may be left out, nothing of a switch."""
        return f"[{self.metavar}]" if self.bare else self.metavar

    @property
    def key(self) -> str:
        """The ini key, and the name under which pytest keeps the flag's value."""
        return "dllama_" + self.name.replace("-", "_")


SETTINGS: tuple[Setting, ...] = (
    Setting(
        "nodes",
        "N,N,..",
        "2,4,8",
        "node counts to measure; each counts the root (2 = one root and one worker)",
        parse_node_counts,
    ),
    Setting(
        "models",
        "MODEL,..",
        SHIPPED_MODEL,
        "models to measure: tiny (shipped), PATH.m:PATH.t, or synthetic:SHAPE (random weights of "
        "a named shape such as llama-160m, kept in the user's cache folder)",
        str,
    ),
    Setting(
        "steps",
        "N",
        "64",
        "position at which a request ends, prompt included, as dllama counts",
        at_least("--steps", 1),
    ),
    Setting("prompt", "TEXT", DEFAULT_PROMPT, "text to continue", prompt_text),
    Setting(
        "prompt-tokens",
        "N,N,..",
        "",
        "in place of --prompt: prompts of exactly so many tokens, made with the model's tokenizer; "
        "one cell for each",
        parse_sizes("--prompt-tokens"),
    ),
    Setting(
        "output-tokens",
        "N,N,..",
        "",
        "in place of --steps: tokens that a request generates; one cell for each",
        parse_sizes("--output-tokens"),
    ),
    Setting(
        "context-depth",
        "N,N,..",
        "",
        "positions of the context that are filled before the clock of a request starts; one cell "
        "for each",
        parse_depths("--context-depth"),
    ),
    Setting(
        "sweep",
        "NAME=V,V,..",
        "",
        "an option of the engine with several values, such as nthreads=1,2; one cell for each; "
        "may be given again for another option",
        parse_sweep,
        is_repeatable=True,
    ),
    Setting(
        "repeats", "N", "3", "measured requests a cell, each in a new root process",
        at_least("--repeats", 1),
    ),
    Setting(
        "warmup", "N", "1", "requests a cell runs before it is measured", at_least("--warmup", 0)
    ),
    Setting(
        "retry-lost", "N", "1",
        "so often a cell that lost a rank (killed, silent, unreachable) is measured anew on fresh "
        "workers, and marked; 0: it is an ERROR at once",
        at_least("--retry-lost", 0),
    ),
    Setting("nthreads", "N", "1", "threads of each node's process", at_least("--nthreads", 1)),
    Setting(
        "buffer-float-type",
        "q80|f32",
        "q80",
        "type in which activations cross the wire",
        one_of("--buffer-float-type", BUFFER_FLOAT_TYPES),
    ),
    Setting(
        "sync-mode",
        "reduce|invariant",
        "reduce",
        "reduce: partial sums are exchanged, as dllama does; invariant: the same logits on any "
        "node count, bit by bit",
        one_of("--sync-mode", SYNC_MODES),
    ),
    Setting(
        "collective",
        COLLECTIVE_FORM,
        MESH,
        "how the embedded engine's nodes exchange: mesh, two-shot, star, ring, doubling or "
        "gather-bcast; several with the tokens of a batch from which on each serves, as in "
        "mesh,star@13; or auto, which probes the links once a cell and picks (docs/network.md)",
        collective,
    ),
    Setting(
        "overlap",
        OVERLAP_FORM,
        OFF,
        "whether the embedded engine sends one half of a prompt's batch while it computes the "
        "other; on@4: of batches of 4 tokens and more; auto measures links and products once a "
        "cell and picks (docs/network.md)",
        overlap,
    ),
    Setting(
        "max-seq-len",
        "N",
        "0",
        "positions that the KV cache is made for; 0: what the longest request of a cell needs",
        at_least("--max-seq-len", 0),
    ),
    Setting(
        "kv-type",
        "f32|f16",
        "f32",
        "type of the KV cache; the real dllama has f32 only",
        one_of("--kv-type", KV_TYPES),
    ),
    Setting(
        "temperature", "X", "0", "0 takes the best token; above 0 samples",
        number("--temperature", positive=False),
    ),
    Setting("seed", "N", "12345", "seed of the sampler", at_least("--seed", 0, LARGEST_SEED)),
    Setting(
        "engine",
        "NAME",
        "embedded",
        "engine to measure: embedded (our own), dllama (the real one, with --dllama-bin), or one "
        "that an installed package adds (docs/real-dllama.md)",
        text_of("--engine"),
    ),
    Setting("dllama-bin", "PATH", "", "the real dllama's program, for --engine dllama", str),
    Setting(
        "dllama-args",
        "TEXT",
        "",
        "more arguments for the real dllama's root and workers, such as '--collective star'",
        words_of("--dllama-args"),
    ),
    Setting(
        "hosts",
        "FILE",
        "",
        "TOML file of machines to run on, over SSH (docs/raspberry-pi.md); without it all nodes "
        "are processes of this machine",
        str,
    ),
    Setting("hosts-only", "NAME,..", "", "run on these hosts of the file only, in its order", str),
    Setting(
        "cooldown", "CELSIUS", "0",
        "before each measured request, wait until every host of --hosts is this cool; 0: do not",
        number("--cooldown", positive=False),
    ),
    Setting(
        "keep-workers", "", "no",
        "leave the workers of --hosts running for the next such run, which takes them again; "
        "`pytest-dllama hosts clean` ends them, and so does keep_s of the hosts file",
        yes_or_no("--keep-workers"),
    ),
    Setting(
        "trace-dir", "DIR", "",
        "run each cell once more after its repeats and write what all nodes did, token by token, "
        "to CELL.trace.json there, for ui.perfetto.dev (docs/network.md)",
        str,
    ),
    Setting(
        "link",
        "PRESET|KEY=VALUE,..",
        "",
        "put the nodes, processes of this machine, on emulated links: 1gbe, 100mbe, wifi5, wifi4, "
        "tailscale, or latency=0.2ms,jitter=..,rate=940mbit,loss-stall=..,switch=..,seed=.. "
        "(docs/network.md)",
        str,
    ),
    Setting(
        "links", "FILE", "",
        "TOML file of emulated links by pair of nodes, of ports and the switch (docs/network.md)",
        str,
    ),
    Setting(
        "emulate", "BOARDxNODES-LINK", "",
        "emulate a cluster of boards on this machine, as pi5x4-1gbe or pi4x8-1gbe: so many nodes, "
        "on such links, none computing faster than the board's memory reads (docs/network.md)",
        str,
    ),
    Setting(
        "energy", "", "no",
        "read what each machine takes meanwhile, where it can tell (a Raspberry Pi 5's power chip, "
        "RAPL of x86), and its idle power before: J/token and tokens/s for each W",
        yes_or_no("--energy"),
    ),
    Setting(
        "power", "FILE", "",
        "CSV file of a meter at the plug, with time stamps, which may still grow: energy from it "
        "(docs/metrics.md)",
        str,
    ),
    Setting("report", "DIR", "report", "folder of the run file, the reports and the logs", str),
    Setting(
        "report-format", "md,html", "md,html",
        "what to write of a report: md, with its pictures beside it; html, one file with all in "
        "it; none: the run file only, `pytest-dllama report` makes the rest of it later",
        some_of("--report-format", ("md", "html")),
    ),
    Setting("thresholds", "FILE", "", "TOML file with limits by model and node count", str),
    Setting(
        "strict-thresholds", "", "no",
        "refuse limits of the thresholds file that no cell of the run has, in place of a warning",
        yes_or_no("--strict-thresholds"),
    ),
    Setting(
        "inject", "SPEC", "",
        "for testing suites: slow the engine down on purpose, as in tpot=10%,ttft=20ms; against "
        "--baseline the new side only (docs/testing.md)",
        str,
    ),
    Setting(
        "history", "DIR", HISTORY_AUTO,
        "folder in which every run is kept, by cluster (docs/history.md); auto: in the user's data "
        "folder; off: nowhere",
        str,
    ),
    Setting(
        "history-keep", "RUNS,DAYS", "1000,730",
        "how many runs of a cluster the history keeps, and for how many days; accepted runs and "
        "anchors stay",
        two_at_least("--history-keep", 1, "1000,730"),
    ),
    Setting(
        "baseline",
        "SPEC",
        "",
        "compare with another version, in pairs, and judge (docs/verdicts.md): self, git:REV, "
        "git:PATH@REV, dllama:PATH, dllama:CHECKOUT@REV, option:NAME=VALUE[,..], run:FILE, "
        "accepted",
        str,
    ),
    Setting(
        "pairs",
        "N,N,..",
        "3,5,7,10",
        "with --baseline, in place of --repeats: after how many pairs to look; only undecided "
        "cells go on",
        parse_looks,
    ),
    Setting(
        "requests-per-session", "N|auto", AUTO,
        "with --baseline: requests of each session of a pair, whose median counts; auto: as many "
        "as decide soonest by what is known of the noise (docs/verdicts.md), 1 where nothing is",
        parse_requests,
    ),
    Setting(
        "tolerate", "P%", "",
        "with --baseline: how much worse TTFT, TPOT, RCT and every other judged metric may be, in "
        "place of what the thresholds file says and of the usual 15% of TTFT and 5% of the others",
        parse_tolerated,
    ),
    Setting(
        "inconclusive", "warn|fail", "warn", "with --baseline: what an undecided metric is",
        one_of("--inconclusive", ("warn", "fail")),
    ),
    Setting(
        "order-seed", "N", "", "with --baseline: seed of the order of sides and cells (drawn and "
        "printed if not given)",
        parse_order_seed,
    ),
    Setting(
        "bisect", "", "no",
        "with --baseline: exit with 0, 1 or 125, as `git bisect run` takes them",
        yes_or_no("--bisect"),
    ),
    Setting(
        "calibrate", "N", "0",
        f"take N pairs ({CALIBRATION_PAIRS} where N is left out) of the engine against itself in "
        "every cell, keep what they say about the noise, and show what so many pairs can find "
        "(docs/history.md)",
        parse_calibration,
        bare=str(CALIBRATION_PAIRS),
    ),
    Setting("csv", "FILE", "", "file for every sample of the run, one request a line", str),
    Setting(
        "request-timeout",
        "SECONDS",
        "300",
        "give a cell up when its cluster shows no progress for so long",
        number("--request-timeout", positive=True),
    ),
)  # fmt: skip
