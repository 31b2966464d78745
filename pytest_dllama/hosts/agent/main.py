"""The agent's commands."""

from __future__ import annotations

import json
import os
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

from pytest_dllama.hosts.agent import (
    clock,
    environment,
    facts,
    links,
    places,
    power,
    processes,
    room,
)
from pytest_dllama.hosts.agent.follower import Follower
from pytest_dllama.hosts.agent.supervisor import supervise

COMMANDS: dict[str, Callable[[dict[str, Any]], dict[str, Any]]] = {
    "start": processes.start,
    "leftovers": processes.leftovers,
    "clear": processes.clear,
    "facts": facts.facts,
    "sample": facts.sample,
    "room": room.room,
    "place": places.place,
    "environment": environment.status,
    "make-venv": environment.make_venv,
    "install": environment.install,
    "measure": links.measure,
}


def main(argv: list[str]) -> None:
    """Run one command."""
    command, *arguments = argv
    os.umask(0o077)
    try:
        if command == "supervise":
            supervise(Path(arguments[0]))
        elif command == "follow":
            Follower(Path(arguments[0]), *map(int, arguments[1:])).follow()
            os._exit(0)  # its thread still reads standard input, and an ordered end waits for it
        elif command == "clock":
            clock.serve()
        elif command == "power":
            power.serve()
        elif command == "serve-links":
            links.serve(arguments[0])
        else:
            request = json.load(sys.stdin)
            print(json.dumps(COMMANDS[command](request)), flush=True)
    except processes.AgentError as error:
        print(json.dumps({"error": str(error)}), flush=True)
    except BrokenPipeError:
        os._exit(0)
    except OSError as error:
        where = f"{error.filename}: " if error.filename else ""
        print(json.dumps({"error": f"{where}{error.strerror or error}"}), flush=True)
