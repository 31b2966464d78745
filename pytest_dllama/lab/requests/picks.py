"""What `auto` picked for a cell: one session of it probes, all others are asked for just that.

A probe is short and may see the links otherwise at the next start. Sessions that exchange otherwise
are different programs, whose figures and last bits are not to be compared.
"""

from __future__ import annotations

from collections.abc import Hashable, Sequence
from dataclasses import dataclass, field, replace

from pytest_dllama.backends.base import Backend, EngineRequest, is_able
from pytest_dllama.events.trace import Picked, RequestTrace


@dataclass(slots=True)
class Picks:
    """Of each cell, or of each side of one, what its first session picked."""

    _found: dict[Hashable, tuple[Picked, ...]] = field(default_factory=dict)

    def asked(self, cell: Hashable, request: EngineRequest) -> EngineRequest:
        """The request, with what was picked in place of `auto`."""
        said = {str(picked.option): picked.value for picked in self.of(cell)}
        collective = said.get("collective", request.collective)
        return replace(request, collective=collective, overlap=said.get("overlap", request.overlap))

    def learn(self, cell: Hashable, trace: RequestTrace, engine: Backend) -> None:
        """Keep what a session picked, if others can be asked for it and none was kept before."""
        if trace.picked and is_able(engine, "takes_picks"):
            self._found.setdefault(cell, trace.picked)

    def of(self, cell: Hashable) -> Sequence[Picked]:
        """What was kept; nothing where no option was `auto`, or an engine cannot be asked."""
        return self._found.get(cell, ())
