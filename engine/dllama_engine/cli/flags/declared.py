"""Every flag of every mode, declared once: its name, default, help, and what reads its value."""

from __future__ import annotations

import argparse
import os

from dllama_engine.cli.flags.values import (
    address,
    cache,
    collective,
    injection,
    memory_rate,
    only_one,
    overlap,
    parent,
    seconds,
    share,
    temperature,
    whole,
)
from dllama_engine.injection import NOTHING
from dllama_engine.loading.settings import CACHE_VARIABLE
from dllama_engine.memory_rate import UNLIMITED
from dllama_engine.sharding.asked import COLLECTIVE_FORM, OVERLAP_FORM

DEFAULT_PORT = 9999


def add_flags(parser: argparse.ArgumentParser) -> None:
    """Declare all of them, in the groups of the help."""
    _add_model(parser.add_argument_group("model and request"))
    _add_cluster(parser.add_argument_group("cluster"))
    _add_worker(parser.add_argument_group("worker mode"))
    _add_plan(parser.add_argument_group("plan mode"))
    _add_process(parser.add_argument_group("process"))


def _add_model(group: argparse._ArgumentGroup) -> None:
    group.add_argument("--model", metavar="FILE.m", help="model file; `tiny` is the shipped one")
    group.add_argument(
        "--tokenizer", metavar="FILE.t", help="its tokenizer (default: FILE.t beside FILE.m)"
    )
    group.add_argument("--prompt", metavar="TEXT", help="text to continue or to score")
    group.add_argument("--file", metavar="FILE", help="read the prompt from a file")
    group.add_argument(
        "--steps", type=whole(1), metavar="N", help="tokens in all, the prompt's included"
    )
    group.add_argument(
        "--temperature", type=temperature, default=0.8, metavar="T",
        help="0 takes the likeliest token (default: %(default)s)",
    )  # fmt: skip
    group.add_argument(
        "--topp", type=share, default=0.9, metavar="P",
        help="sample from the likeliest tokens of this mass (default: %(default)s)",
    )  # fmt: skip
    group.add_argument(
        "--seed", type=whole(0), metavar="N", help="of the sampler (default: from the clock)"
    )
    group.add_argument(
        "--chat-template", metavar="NAME",
        help="llama2, llama3, deepSeek3 or chatml (default: the file's)",
    )  # fmt: skip
    group.add_argument(
        "--max-seq-len", type=whole(0), default=0, metavar="N",
        help="shorten the context, and so the KV cache (default: 0, the model's)",
    )  # fmt: skip
    group.add_argument(
        "--context-depth", type=whole(0), default=0, metavar="N",
        help="fill so many positions of the context before the request's clock starts; --steps "
        "count from there (default: %(default)s)",
    )  # fmt: skip
    group.add_argument(
        "--decode-from", type=whole(0), metavar="ID",
        help="decode the first token from this id in place of the prompt's last, as dllama does "
        "where it reads a stale token (docs/real-dllama.md; default: do not)",
    )  # fmt: skip
    group.add_argument(
        "--requests", type=whole(1), default=1, metavar="N",
        help="run the request so often, each time in a session of its own that is loaded anew, for "
        "who measures (default: %(default)s)",
    )  # fmt: skip


def _add_cluster(group: argparse._ArgumentGroup) -> None:
    group.add_argument(
        "--workers", type=address, nargs="+", default=(), metavar="HOST:PORT",
        help="worker nodes; the root is a node too (default: none)",
    )  # fmt: skip
    group.add_argument(
        "--buffer-float-type", choices=("q80", "f32"), default="q80",
        help="type of what nodes exchange (default: %(default)s)",
    )  # fmt: skip
    group.add_argument(
        "--sync-mode", choices=("reduce", "invariant"), default="reduce",
        help="reduce: dllama's partial sums; invariant: the same bits on any node count "
        "(default: %(default)s)",
    )  # fmt: skip
    group.add_argument(
        "--kv-type", choices=("f32", "f16"), default="f32",
        help="type of the KV cache (default: %(default)s)",
    )  # fmt: skip
    group.add_argument(
        "--nbatches", dest="batch_size", type=whole(1, 65535), default=32, metavar="N",
        help="prompt tokens run at a time (default: %(default)s)",
    )  # fmt: skip
    group.add_argument(
        "--nthreads", dest="n_threads", type=whole(1, 1024), default=1, metavar="N",
        help="threads of this node (default: %(default)s)",
    )  # fmt: skip
    group.add_argument(
        "--timeout", dest="timeout_s", type=seconds, default=60.0, metavar="S",
        help="give up when no node makes progress for so long (default: %(default)s)",
    )  # fmt: skip
    group.add_argument(
        "--connect-timeout", dest="connect_timeout_s", type=seconds, default=5.0, metavar="S",
        help="how long a worker that does not answer yet is tried (default: %(default)s)",
    )  # fmt: skip
    group.add_argument(
        "--retry-lost", type=whole(0), default=0, metavar="N",
        help="so often a lost worker's return is waited for, up to --timeout, and all that was "
        "run is run again on a fresh session (default: %(default)s, give up at once)",
    )  # fmt: skip
    group.add_argument(
        "--shrink", action="store_true",
        help="when a lost worker does not return, go on with those that are left; needs "
        "--sync-mode invariant, which gives the same tokens on any node count",
    )  # fmt: skip
    group.add_argument(
        "--token-file", metavar="FILE",
        help="the cluster's secret (default: $DLLAMA_PY_TOKEN, else a file of this user)",
    )  # fmt: skip
    group.add_argument(
        "--local-weights", choices=("map", "send"), default="map",
        help="weights of workers on the root's machine: they map the root's file where they can "
        "open it, or it sends them as to any other (default: %(default)s)",
    )  # fmt: skip
    group.add_argument(
        "--cores", choices=("own", "any"), default="own",
        help="nodes on one machine whose threads are as many as its cores: each stays on its own, "
        "or where the system puts it (default: %(default)s)",
    )  # fmt: skip
    group.add_argument(
        "--collective", type=collective, default="mesh", metavar=COLLECTIVE_FORM,
        help="how nodes exchange: mesh, two-shot, star, ring, doubling or gather-bcast; several "
        "with the tokens of a batch from which on each serves, as in mesh,star@13; or auto, which "
        "probes the links (default: %(default)s)",
    )  # fmt: skip
    group.add_argument(
        "--overlap", type=overlap, default="off", metavar=OVERLAP_FORM,
        help="send one half of a prompt's batch while the other is computed: off, on, on@4 for "
        "batches of 4 tokens and more, or auto, which measures links and products and says "
        "whether that pays (default: %(default)s)",
    )  # fmt: skip
    group.add_argument(
        "--pp-size", type=only_one, default=1, metavar="1",
        help="pipeline stages; only 1 is there (default: %(default)s)",
    )  # fmt: skip
    group.add_argument(
        "--net-turbo", choices=("0", "1"), default="1",
        help="accepted and passed over: sockets never block here (default: %(default)s)",
    )  # fmt: skip
    group.add_argument("--gpu-index", metavar="N", help="refused: this engine runs on CPUs only")
    group.add_argument("--gpu-segments", metavar="A:B", help=argparse.SUPPRESS)


def _add_worker(group: argparse._ArgumentGroup) -> None:
    group.add_argument(
        "--host", default="127.0.0.1",
        help="address to listen on; 0.0.0.0 for all (default: %(default)s)",
    )  # fmt: skip
    group.add_argument(
        "--port", type=whole(0, 65535), default=DEFAULT_PORT, metavar="N",
        help="port to listen on; 0 takes a free one and prints it (default: %(default)s)",
    )  # fmt: skip
    group.add_argument(
        "--idle-timeout", dest="idle_timeout_s", type=seconds, metavar="S",
        help="exit when no root came for so long (default: never)",
    )  # fmt: skip
    group.add_argument(
        "--weight-cache", type=cache, default=os.environ.get(CACHE_VARIABLE) or "on",
        metavar="on|off|SIZE|DIR[,SIZE]",
        help="keep this worker's weights on its disk, so that the next start is sent digests only: "
        "in this user's cache or in DIR, 8GiB at most unless SIZE says otherwise, then what was "
        f"not used for longest goes (default: ${CACHE_VARIABLE}, else on)",
    )  # fmt: skip


def _add_plan(group: argparse._ArgumentGroup) -> None:
    group.add_argument(
        "--nodes", type=whole(1, 65535), default=1, metavar="N",
        help="node count, the root included (default: %(default)s)",
    )  # fmt: skip
    group.add_argument("--shape", metavar="NAME", help="a named shape in place of a model file")
    group.add_argument("--json", action="store_true", help="print JSON in place of tables")


def _add_process(group: argparse._ArgumentGroup) -> None:
    group.add_argument(
        "--events", metavar="FILE|-",
        help="write events as JSON lines; with - they own stdout and the text goes to stderr",
    )  # fmt: skip
    group.add_argument(
        "--spans", choices=("on", "off"), default="on",
        help="whether all nodes count where their time goes (default: %(default)s)",
    )  # fmt: skip
    group.add_argument(
        "--trace", metavar="FILE|-",
        help="write the last spans of all nodes on one time line, for ui.perfetto.dev "
        "(docs/network.md); - puts the file into --events",
    )  # fmt: skip
    group.add_argument(
        "--inject", type=injection, default=NOTHING, metavar="SPEC",
        help="for testing suites: slow this process down on purpose, as in tpot=10%%,ttft=20ms "
        "(docs/testing.md; default: do not)",
    )  # fmt: skip
    group.add_argument(
        "--memory-rate", type=memory_rate, default=UNLIMITED, metavar="RATE",
        help="emulate a board whose memory reads so fast, as in 8.5GB/s: between two exchanges "
        "this process takes as long as that board (docs/network.md; default: do not)",
    )  # fmt: skip
    group.add_argument(
        "--exit-with-parent", type=parent, nargs="?", const=0, default=-1, metavar="PID|stdin",
        help="end when the parent process, PID or standard input ends, so that no orphan stays",
    )  # fmt: skip
