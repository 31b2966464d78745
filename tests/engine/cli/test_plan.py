"""`dllama-py plan` as a process: who holds and sends what, without the model."""

from __future__ import annotations

import json

from tests.data import MODELS as GOLDEN
from tests.engine.processes import run


def test_plan_prints_who_holds_what() -> None:
    done = run("plan", "--shape", "llama-30b", "--nodes", 8)
    assert done.returncode == 0, done.stderr
    lines = done.stdout.splitlines()
    assert lines[0].startswith("llama: 60 layers, dim 6656, 52 heads, 52 K/V heads, ffn 17920")
    assert lines[1].startswith(
        "8 nodes, q80 buffers, reduce sync, collective mesh, f32 KV cache of 2048"
    )
    assert lines[4].split()[:5] == ["0", "root", "0-6", "0-6", "0-2239"]
    assert len([line for line in lines if line.endswith("GiB")]) == 9
    matrix = next(i for i, line in enumerate(lines) if line.startswith("payload bytes"))
    assert lines[matrix + 2].split() == ["0", "-", *["875272"] * 7]
    assert lines[matrix + 3].split() == ["1", "864640", "-", *["848640"] * 6]
    assert lines[-2].startswith("in all 47822264 bytes in ")


def test_a_plan_tells_the_links_of_its_collective() -> None:
    """By hand, 60 layers of two exchanges: in a mesh 56 messages each, by doubling 24."""
    ends = 7 + 7  # the root's packets and the logits
    for collective, messages in (("mesh", 56), ("doubling", 24), ("star", 14)):
        done = run("plan", "--shape", "llama-30b", "--nodes", 8, "--collective", collective)
        assert f", collective {collective}, " in done.stdout
        assert f" in {120 * messages + ends} messages; over the root's links" in done.stdout


def test_a_plan_tells_a_batch_whole_and_in_halves() -> None:
    """By hand, on 2 nodes: 12 layers of two exchanges, a message each way, and the root's packet.

    Bytes: an exchange of 768 values in Q80 is 816 a token and way; the packet is 8, and f32 values.
    """
    n_bytes = 24 * 2 * 816 * 32 + 8 + 4 * 768 * 32
    asked = ("plan", "--shape", "llama-160m", "--nodes", 2)
    whole = json.loads(run(*asked, "--json").stdout)
    assert whole["batch"] == {
        "tokens": 32, "in_halves": False, "payload_bytes": n_bytes, "messages": 48 + 1,
    }  # fmt: skip
    halved = run(*asked, "--overlap", "on").stdout
    assert ", overlap on, " in halved
    assert halved.splitlines()[-1] == (
        f"a batch of 32 prompt tokens that goes in halves: {n_bytes} bytes in {96 + 1} messages"
    )


def test_a_plan_says_what_only_a_probe_decides() -> None:
    done = run(
        *("plan", "--shape", "llama-160m", "--nodes", 2),
        *("--collective", "auto", "--overlap", "auto"),
    )
    assert done.stdout.splitlines()[-1] == (
        "collective auto: the mesh is shown; overlap auto: whole batches are shown; "
        "what serves is picked when nodes have connected"
    )


def test_plan_of_too_many_nodes_is_refused() -> None:
    done = run("plan", "--model", GOLDEN / "llama_q40.m", "--nodes", 9)
    assert done.returncode == 1
    assert "runs on 1 to 8 nodes" in done.stderr
