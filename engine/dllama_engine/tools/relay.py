"""Runs the relay that emulates links between this machine's processes, for controllers.

`python -m dllama_engine.tools.relay NETWORK ROUTES PID` listens on a loopback port for each node
but the root, and delays what goes through them as NETWORK says (`relay.network`). ROUTES says where
the nodes really listen (`relay.doors`). It ends with process PID. JSON lines tell the ports, and of
each direction of a connection that has ended how many messages passed and how many were late.
"""

from __future__ import annotations

import json
import os
import queue
import sys
import threading
from contextlib import suppress
from dataclasses import asdict
from pathlib import Path

from dllama_engine.system import process

_DRAIN_S = 1.0  # for a reader to take what was told before the end


def main(arguments: list[str]) -> int:
    """Relay until told to end."""
    process.prepare()
    network_file, routes, parent = Path(arguments[0]), Path(arguments[1]), int(arguments[2])
    process.exit_with_parent(parent)
    teller = _Teller()
    try:
        return _relay(network_file, routes, teller)
    except (process.Terminated, KeyboardInterrupt):
        return 0
    except Exception as error:
        teller.tell(event="error", type=type(error).__name__, message=str(error))
        return 1
    finally:
        teller.close()


def _relay(network_file: Path, routes: Path, teller: _Teller) -> int:
    from dllama_engine.kernels.image import mapped
    from dllama_engine.relay.doors import Doors, last_hop_ns
    from dllama_engine.relay.forwarder import Forwarder
    from dllama_engine.relay.network import read_network

    mapped.use(lambda line: None)  # without an image numba compiles what is called here
    failed = threading.Event()

    def fail(error: BaseException) -> None:
        teller.tell(event="error", type=type(error).__name__, message=str(error))
        failed.set()

    forwarder = Forwarder(
        read_network(network_file),
        fail,
        lambda passed: teller.tell(event="passed", **asdict(passed)),
    )
    doors = Doors(forwarder, routes, lambda line: print(line, file=sys.stderr, flush=True))
    ports, probe_port = doors.open()
    forwarder.start()
    forwarder.lead_ns = last_hop_ns(forwarder)
    teller.tell(
        event="listening",
        doors=ports,
        probe_port=probe_port,
        lead_us=forwarder.lead_ns / 1000,
        priority=forwarder.priority,
        pid=os.getpid(),
    )
    doors.serve(failed.is_set)
    return 1


class _Teller:
    """Writes lines in a thread of its own: who reads them late must hold up no link."""

    def __init__(self) -> None:
        self._lines: queue.SimpleQueue[str | None] = queue.SimpleQueue()
        self._thread = threading.Thread(target=self._write, name="tell", daemon=True)
        self._thread.start()

    def tell(self, **event: object) -> None:
        """One line; from any thread, and without waiting for its reader."""
        self._lines.put(json.dumps(event))

    def close(self) -> None:
        """Write the rest, if somebody still reads."""
        self._lines.put(None)
        self._thread.join(_DRAIN_S)

    def _write(self) -> None:
        with suppress(OSError):  # nobody reads any more
            for line in iter(self._lines.get, None):
                os.write(sys.stdout.fileno(), line.encode() + b"\n")


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
