"""A stand-in for the real dllama where no binary is at hand: its sample text, real sockets.

It computes nothing. Worker and root really listen and connect as dllama does: a worker serves one
root and then listens anew, the root prints the sample log of its node count. `--fail HOW` plays a
failure, `--pieces FILE` gives other text. Only the start/stop road is tested with it, never a
figure.

STAND_IN_VERSION plays one of VERSIONS: it knows that version's flags, refuses others as that
version does, and binds where that version binds.
"""

from __future__ import annotations

import argparse
import json
import os
import re
import socket
import sys
import time
from pathlib import Path

LOGS = Path(__file__).resolve().parents[2] / "data/logs"
SAMPLES = {1: "upstream_inference_n1.log", 2: "upstream_inference_n2.log"}

NEWEST = "v0.16.4"
COMMON = {
    *("--model", "--tokenizer", "--prompt", "--steps", "--buffer-float-type", "--nthreads"),
    *("--workers", "--port", "--temperature", "--topp", "--seed", "--fail", "--pieces"),
}
SINCE_13_6 = {"--max-seq-len", "--chat-template", "--gpu-index", "--gpu-segments", "--net-turbo"}
FORK = {"--collective", "--pp-size", "--prefill-chunk-size"}
VERSIONS = {  # what the real ones of these versions know
    "v0.5.2": COMMON | {"--weights-float-type"},
    "v0.10.6": COMMON
    | {"--weights-float-type", "--kv-cache-storage", "--max-seq-len", "--chat-template"},
    "v0.11.2": COMMON
    | {"--weights-float-type", "--packet-alignment", "--max-seq-len", "--chat-template"},
    "v0.12.1": COMMON | {"--max-seq-len", "--chat-template"},
    "v0.13.0": COMMON | {"--max-seq-len", "--chat-template", "--gpu-index"},
    "v0.14.2": COMMON | SINCE_13_6,
    "v0.15.4": COMMON | SINCE_13_6,
    "v0.16.3": COMMON | SINCE_13_6,
    "v0.16.4": COMMON | SINCE_13_6 | {"--host"},
    "fork": COMMON | SINCE_13_6 | FORK,
}


def refused(version: str, arguments: list[str]) -> int | None:
    """The exit code with which that version leaves before it opens anything; None: it goes on."""
    mode, *words = arguments
    i = 0
    while i + 1 < len(words):  # pairs of name and value; --workers takes all up to the next name
        if words[i] not in VERSIONS[version]:
            unknown_option(version, words[i])
            return 1
        i += 2
        while words[i - 2] == "--workers" and i < len(words) and not words[i].startswith("--"):
            i += 1
    if mode != "perplexity":
        return None
    is_named = version in ("v0.16.3", "v0.16.4", "fork")
    if version in ("v0.15.4", "v0.16.3", "v0.16.4", "fork"):
        why = " (/nonexistent): No such file or directory" if is_named else ""
        say(f"🚨 Critical error: Cannot open model file{why}")
    else:
        say("🚨 Critical error: Unsupported mode")
    return 1


def unknown_option(version: str, name: str) -> None:
    if version in ("v0.5.2", "v0.10.6"):
        say(f"Unknown option {name}")
    elif version == "v0.11.2":
        usage = "Usage: dllama {inference|generate} {--model <path>}"
        print(f"Unknown option '{name}'\n\n{usage}", file=sys.stderr)
    else:
        say(f"🚨 Critical error: Unknown option: {name}")


def say(text: str) -> None:
    sys.stdout.write(text + "\n")
    sys.stdout.flush()


def worker(args: argparse.Namespace) -> int:
    while True:
        listener = socket.socket()
        listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            listener.bind((args.host, args.port))
        except OSError as error:
            say(f"🚨 Critical error: Cannot bind port: {error.strerror}")
            return 1
        listener.listen(1)
        say(f"Listening on {args.host}:{args.port}...")
        root, _ = listener.accept()
        listener.close()  # as dllama: until it listens anew nobody can connect
        say("⭕ The root node has connected")
        say("⭕ nNodes: 2\n⭕ NodeIndex: 1")
        while root.recv(64):
            pass
        root.close()
        say("⭕ Network is closed")
        if args.fail == "die-after-session":
            return 3
        time.sleep(0.2)  # a slow machine: the next root must wait for it


def connect(address: str) -> socket.socket:
    host, _, port = address.rpartition(":")
    try:
        return socket.create_connection((host, int(port)), timeout=10)
    except OSError as error:
        say(f"Cannot connect to {address} ({error.strerror})")
        say("🚨 Critical error: Cannot connect")
        sys.exit(1)


def root(args: argparse.Namespace) -> int:
    text = (LOGS / SAMPLES.get(len(args.workers) + 1, SAMPLES[2])).read_text(encoding="utf-8")
    for piece in json.loads(Path(args.pieces).read_text(encoding="utf-8")) if args.pieces else ():
        text = text.replace("| efdc\n", f"| {piece}\n", 1)
    head, connecting, rest = text.partition("⭕ Socket[0]: connecting")
    if not connecting:
        say(text.rstrip("\n"))
        return 0
    sockets = []
    say(head.rstrip("\n"))
    for i, address in enumerate(args.workers):
        say(f"⭕ Socket[{i}]: connecting to {address} worker")
        sockets.append(connect(address))
        say(f"⭕ Socket[{i}]: connected")
    body = re.sub(r".*?⭕ Socket\[0\]: connected\n", "", rest, count=1, flags=re.DOTALL)
    if args.fail == "root-crash":
        say(body.partition("Evaluation")[0].rstrip("\n"))
        print("nn-cpu.cpp:1: Assertion `a < b' failed.", file=sys.stderr)
        return 139
    if args.fail == "root-hang":
        time.sleep(60)
    for peer in sockets:
        peer.sendall(b"work")
    say(body.rstrip("\n"))
    for peer in sockets:
        peer.close()
    return 0


def main() -> int:
    code = refused(os.environ.get("STAND_IN_VERSION", NEWEST), sys.argv[1:])
    if code is not None:
        return code
    parser = argparse.ArgumentParser()
    parser.add_argument("mode", choices=["worker", "inference"])
    numbers = {"--steps", "--nthreads", "--port", "--seed"}
    texts = set.union(*VERSIONS.values()) - numbers - {"--host", "--temperature", "--workers"}
    for flag in sorted(texts):
        parser.add_argument(flag, default="")
    for flag in sorted(numbers):
        parser.add_argument(flag, type=int, default=0)
    parser.add_argument("--host", default="0.0.0.0")
    parser.add_argument("--temperature", type=float, default=0.8)
    parser.add_argument("--workers", nargs="*", default=[])
    args = parser.parse_args()
    return worker(args) if args.mode == "worker" else root(args)


if __name__ == "__main__":
    sys.exit(main())
