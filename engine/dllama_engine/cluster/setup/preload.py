"""What every session needs of a process, got ready while a worker waits for its first root.

A few hundredths of a second each, but seven workers that share two cores with their root were ready
after twice the time: 0.27 s in place of 0.15 with a model of 160 million weights.
"""

from __future__ import annotations

from importlib import import_module

from dllama_engine.kernels.image import mapped
from dllama_engine.system.process import signals_held

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
    """Import what every session needs, and map the kernels if they have been compiled."""
    with signals_held():
        for name in NEEDED:
            import_module(name)
    mapped.use(lambda line: None)  # what is wrong with them is told in a session, to its root too
