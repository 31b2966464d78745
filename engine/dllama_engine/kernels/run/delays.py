"""When what came into a link comes out: ports, switch, latency, jitter, loss; arithmetic only.

The packets of a segment pass the sender's port, the link, the switch and the receiver's port one
behind the other: each is busy for bytes times its rate, from when it is free on, and the slowest
says when the last byte is through. For a seed and an order of segments it is the same each time.
"""

from __future__ import annotations

from typing import Any

from numba import njit

from dllama_engine.tables.relay import (
    DRAWS,
    IN_FREE_NS,
    IN_RATE,
    JITTER_NS,
    LAST_NS,
    LATENCY_NS,
    LINK_FREE_NS,
    LINK_RATE,
    LOSS,
    OUT_FREE_NS,
    OUT_RATE,
    PACKET_BYTES,
    SEED,
    SOURCE,
    STALL_NS,
    SWITCH,
    TARGET,
)

_MASK = 0x7FFFFFFF  # 31 bits: a product of two stays in an int64


@njit(nogil=True)
def draw(flow: Any) -> Any:
    """The flow's next number, uniform in 0 .. 2^31 - 1.

    A counter is hashed by two rounds of xor-shift and multiply, so that flows of one seed do not
    depend on each other's order.
    """
    x = (flow[SEED] + (flow[DRAWS] & _MASK) * 0x1E3779B1) & _MASK
    flow[DRAWS] += 1
    x ^= x >> 15
    x = (x * 0x2C1B3C6D) & _MASK
    x ^= x >> 12
    x = (x * 0x297A2D39) & _MASK
    return x ^ (x >> 15)


@njit(nogil=True)
def _passes(row: Any, rate: int, free_ns: int, at_ns: int, size: int) -> Any:
    """When the first and the last byte pass what has this rate, and is busy until the last one."""
    if row[rate] == 0:
        return at_ns, at_ns
    begin = max(at_ns, row[free_ns])
    row[free_ns] = begin + size * row[rate] // 1000
    return begin, row[free_ns]


@njit(nogil=True)
def due_ns(flow: Any, nodes: Any, size: int, arrived_ns: int) -> Any:
    """When the last of `size` bytes that arrived now is at the receiver; marks all as busy.

    Args:
        flow: row of the flows, (FLOW_WIDTH,).
        nodes: all ports and switches, (nodes, NODE_WIDTH).
        size: bytes; 0 for the end of a stream.
        arrived_ns: when they were handed to the sender's port.
    """
    source, switch, target = nodes[flow[SOURCE]], nodes[flow[SWITCH]], nodes[flow[TARGET]]
    begin, sent = _passes(source, OUT_RATE, OUT_FREE_NS, arrived_ns, size)
    _, crossed = _passes(flow, LINK_RATE, LINK_FREE_NS, begin, size)
    begin, switched = _passes(switch, OUT_RATE, OUT_FREE_NS, begin, size)
    _, received = _passes(target, IN_RATE, IN_FREE_NS, begin, size)
    through = max(max(sent, crossed), max(switched, received))
    due = through + flow[LATENCY_NS] + _jitter_ns(flow) + _stalled_ns(flow, size)
    flow[LAST_NS] = max(due, flow[LAST_NS])  # a stream of bytes is never reordered
    return flow[LAST_NS]


@njit(nogil=True)
def _jitter_ns(flow: Any) -> Any:
    """Uniform in plus or minus the jitter, so that the median stays the latency."""
    if flow[JITTER_NS] == 0:
        return 0
    return draw(flow) % (2 * flow[JITTER_NS] + 1) - flow[JITTER_NS]


@njit(nogil=True)
def _stalled_ns(flow: Any, size: int) -> Any:
    """What a lost packet of this segment costs the stream, which waits for it to be sent again."""
    if flow[LOSS] == 0:
        return 0
    for _ in range((size + PACKET_BYTES - 1) // PACKET_BYTES):
        if draw(flow) < flow[LOSS]:
            return flow[STALL_NS]
    return 0
