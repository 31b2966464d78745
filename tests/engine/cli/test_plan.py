"""`dllama-py plan` as a process: who holds and sends what, without the model."""

from __future__ import annotations

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
    assert lines[-1].startswith("in all 47822264 bytes in ")


def test_a_plan_tells_the_links_of_its_collective() -> None:
    """By hand, 60 layers of two exchanges: in a mesh 56 messages each, by doubling 24."""
    ends = 7 + 7  # the root's packets and the logits
    for collective, messages in (("mesh", 56), ("doubling", 24), ("star", 14)):
        done = run("plan", "--shape", "llama-30b", "--nodes", 8, "--collective", collective)
        assert f", collective {collective}, " in done.stdout
        assert f" in {120 * messages + ends} messages; over the root's links" in done.stdout


def test_plan_of_too_many_nodes_is_refused() -> None:
    done = run("plan", "--model", GOLDEN / "llama_q40.m", "--nodes", 9)
    assert done.returncode == 1
    assert "runs on 1 to 8 nodes" in done.stderr
