"""Whether workers are free, and whether they serve."""

from __future__ import annotations

from dllama_engine.wire.connecting.handshake import HandshakeCut, probe_worker
from tests.engine.processes import (
    TOKEN,
    Node,
    inference_arguments,
    run,
    wait_until,
)


def assert_free(workers: list[Node]) -> None:
    """The workers are ready for a root, or soon will be."""

    def is_free(port: int) -> bool:
        try:
            return probe_worker("127.0.0.1", port, TOKEN.encode()).busy is None
        except HandshakeCut:  # it still has more callers than it takes
            return False

    for worker in workers:
        wait_until(lambda port=worker.port: is_free(port), "a free worker")


def assert_serves(workers: list[Node]) -> None:
    """The workers take the next root as if nothing had happened."""
    done = run(*inference_arguments(workers, steps=8))
    assert done.returncode == 0, done.stderr
