"""The worker process: serves one session after another, for ever; outlives every root."""

from __future__ import annotations

import ipaddress
import os
import traceback

from dllama_engine.cluster.setup.preload import preload
from dllama_engine.cluster.worker_session import Log, WorkerOptions, WorkerSession
from dllama_engine.errors import EngineError
from dllama_engine.system import process
from dllama_engine.telemetry.event_writer import EventWriter
from dllama_engine.telemetry.events.worker import Listening, SessionEnd, SessionStart
from dllama_engine.wire.connecting.listener import Caller, Listener


class Worker:
    """Listens, and serves whoever holds the cluster's token."""

    def __init__(self, options: WorkerOptions, events: EventWriter, log: Log) -> None:
        self._options, self._events, self._log = options, events, log
        self._listener = Listener(options.host, options.port, options.token, options.n_threads, log)

    def serve(self) -> None:
        """Serve sessions until nobody has come for the idle timeout.

        Raises:
            WireError: the address cannot be listened on.
        """
        options = self._options
        port = self._listener.open()
        self._log(f"Listening on {options.host}:{port}...")
        if _is_every_address(options.host):
            self._log(
                f"⚠️  This is every address of this host: all who can reach port {port} may knock, "
                "and nothing is encrypted behind the handshake. Name one address of a network that "
                "you trust with --host, or go through a tunnel (docs/security.md)"
            )
        self._events.emit(Listening(options.host, port, os.getpid()))
        preload()  # the listener's threads already meet whoever comes
        process.started()
        try:
            while (root := self._listener.next_root(options.idle_timeout_s)) is not None:
                self._serve_one(root)
            self._log(f"⭕ No root came for {options.idle_timeout_s:g} s")
        finally:
            self._listener.close()

    def _serve_one(self, root: Caller) -> None:
        """One session; whatever ends it, the worker is ready for the next."""
        self._log(f"⭕ The root node has connected from {root.address}")
        self._events.emit(SessionStart(root.address))
        session = WorkerSession(root, self._listener, self._options, self._log)
        try:
            session.run()
            reason = "the root ended the session"
        except (EngineError, OSError) as error:
            reason = str(error)
            self._log(f"🚨 Session error: {reason}")
        except Exception as error:  # a bug must cost one session, not the worker
            reason = f"{type(error).__name__}: {error}"
            self._log(f"🚨 Session error: {reason}\n{traceback.format_exc()}")
        finally:
            session.close()
            self._listener.release()
        self._log("⭕ Network is closed")
        self._events.emit(SessionEnd(reason))


def _is_every_address(host: str) -> bool:
    try:
        return ipaddress.ip_address(host or "0.0.0.0").is_unspecified
    except ValueError:  # a name
        return False
