"""All collectives, and which one is best on links of a known latency and rate."""

from __future__ import annotations

from collections.abc import Mapping

from dllama_engine.collectives.base import Collective
from dllama_engine.collectives.doubling import Doubling
from dllama_engine.collectives.mesh import Mesh
from dllama_engine.collectives.ring import Ring
from dllama_engine.collectives.star import Star
from dllama_engine.collectives.two_shot import TwoShot
from dllama_engine.sharding.collective import Collective as Name

COLLECTIVES: Mapping[Name, Collective] = {
    one.name: one for one in (Mesh(), Doubling(), TwoShot(), Ring(), Star())
}
