"""For how many nodes a preset is certified on the processor at hand."""

from __future__ import annotations

from pytest_dllama.emulation.topology import Topology


def too_crowded(topology: Topology | None, nodes: int, cores: int) -> str | None:
    """What to know beforehand of so many nodes on so many cores; None: nothing.

    >>> from pytest_dllama.emulation.topology import uniform
    >>> too_crowded(uniform("1gbe"), 2, 2)
    >>> too_crowded(uniform("1gbe"), 8, 2)[:60]
    'emulated links 1gbe are certified for 1 node a core: 2 nodes'
    """
    certified = topology.link.nodes_per_core if topology else None
    if topology is None or certified is None or nodes <= certified * cores:
        return None
    most = int(certified * cores)
    some = f"{certified:g} node{'' if certified == 1 else 's'} a core"
    return (
        f"emulated links {topology.text} are certified for {some}: {most} nodes on {cores} cores. "
        f"With {nodes} the relay may be late and cells come out INVALID; fewer --nodes, or slower "
        "links (docs/network.md)"
    )
