"""Accounting of steps on the root: compute and sync time, counted bytes and expected ones."""

from __future__ import annotations

import time

import numpy as np

from dllama_engine.arrays import Table
from dllama_engine.collectives.traffic import step_traffic
from dllama_engine.sharding.plan import ShardPlan
from dllama_engine.tables.links import LINK_WIDTH
from dllama_engine.tables.steps import GATHERED_NS, SPENT, START
from dllama_engine.telemetry.step_cost import StepCost
from dllama_engine.wire.links import Links
from dllama_engine.wire.trace import LinkTotals, totals_of


class StepAccounts:
    """Adds up what steps cost, from `begin` or the last `forget` on."""

    def __init__(self) -> None:
        self.compute_ns = self.sync_ns = 0
        self._expected: dict[tuple[int, int], int] = {}
        self._counted: Table = np.zeros((0, LINK_WIDTH), np.int64)  # the links, last looked at
        self._since = self._counted  # the first look of what is added up

    def begin(self, links: Links) -> None:
        """What crossed the links so far was set-up."""
        self._counted = self._since = links.table.copy()

    def add(
        self, links: Links, plan: ShardPlan, start_ns: int, spent_ns: int, sizes: tuple[int, int]
    ) -> StepCost:
        """One step that ends now.

        Args:
            links: of the root.
            plan: by which it ran.
            start_ns: when it began.
            spent_ns: time in operations of the links until then.
            sizes: of the step: tokens and logits.
        """
        end_ns = time.perf_counter_ns()
        counted = links.table.copy()
        cost = StepCost(
            start_ns,
            end_ns,
            links.spent_ns - spent_ns,
            links.take_trace(),
            self._counted,
            counted,
            self._expected_bytes(plan, sizes),
        )
        self._counted = counted
        self.compute_ns += cost.compute_ns
        self.sync_ns += cost.sync_ns
        return cost

    def add_in_a_row(
        self, links: Links, plan: ShardPlan, spent_ns: int, rows: Table, counters: Table, n_ops: int
    ) -> list[StepCost]:
        """Steps of a token each that compiled code ran one after another.

        Args:
            links: of the root.
            plan: by which they ran.
            spent_ns: time in operations of the links before the first.
            rows: int64 (steps, STEP_WIDTH), see `tables.steps`.
            counters: int64 (steps or more, world_size, LINK_WIDTH): the links after each.
            n_ops: operations of the links in each.
        """
        costs, expected = [], self._expected_bytes(plan, (1, 1))
        traces, after = links.take_trace().cut(len(rows), n_ops), counters[: len(rows)].copy()
        fields = rows[:, [START, GATHERED_NS, SPENT]].tolist()
        for (start_ns, end_ns, spent), trace, counted in zip(fields, traces, after, strict=True):
            sync_ns = spent - spent_ns
            costs.append(
                StepCost(start_ns, end_ns, sync_ns, trace, self._counted, counted, expected)
            )
            self._counted, spent_ns = counted, spent
            self.compute_ns += end_ns - start_ns - sync_ns
            self.sync_ns += sync_ns
        return costs

    def _expected_bytes(self, plan: ShardPlan, sizes: tuple[int, int]) -> int:
        """Payload on the root's links in a step of so many tokens and logits, by closed form."""
        if sizes not in self._expected:
            traffic = step_traffic(plan, *sizes)
            self._expected[sizes] = sum(
                part.payload_bytes for ends, part in traffic.items() if 0 in ends
            )
        return self._expected[sizes]

    def forget(self) -> None:
        """The steps so far are not of the request."""
        self._since = self._counted
        self.compute_ns = self.sync_ns = 0

    def links(self) -> LinkTotals:
        """What crossed the links in the steps that are added up."""
        return self.all_links() - totals_of(self._since)

    def all_links(self) -> LinkTotals:
        """What crossed them since they were connected."""
        return totals_of(self._counted)
