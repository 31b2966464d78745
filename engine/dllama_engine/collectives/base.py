"""What collectives ask of the links below them."""

from __future__ import annotations

from typing import Protocol

from dllama_engine.arrays import Table


class Exchanger(Protocol):
    """The part of `wire.Links` that collectives need."""

    table: Table
    mesh: Table

    def routes(self) -> Table:
        """A table of routes on which nothing goes anywhere yet."""

    def exchange_routes(self, op: str, routes: Table) -> None:
        """Send and receive one frame on every link that the routes name."""

    def settle(self, status: int, routes: Table) -> None:
        """What an exchange that returned before its end needs."""

    def forget_exchange(self) -> None:
        """Do not go on with it."""
