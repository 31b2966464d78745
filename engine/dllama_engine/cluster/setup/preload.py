"""What a session imports, imported while a worker waits for its first root.

A few hundredths of a second each, but of seven workers that share two cores with their root they
were a third of the time from its first word to ready.
"""

from __future__ import annotations

from importlib import import_module

# Neither of them knows a compiler. What only some sessions need (a cache of weights, a trace, the
# probe of links) is left to these.
NEEDED = (
    "dllama_engine.cluster.setup.warmup",
    "dllama_engine.cluster.setup.choosing",
    "dllama_engine.loading.mapping",
    "dllama_engine.loading.share",
    "dllama_engine.kernels.cpu",
    "dllama_engine.cluster.service",  # and with it the transformer, collectives and telemetry
)


def preload() -> None:
    """Import what every session needs."""
    for name in NEEDED:
        import_module(name)
