"""All collectives by their names; a new one is entered here."""

from __future__ import annotations

from collections.abc import Mapping

from dllama_engine.collectives.algorithms.doubling import Doubling
from dllama_engine.collectives.algorithms.gather_bcast import GatherBcast
from dllama_engine.collectives.algorithms.mesh import Mesh
from dllama_engine.collectives.algorithms.ring import Ring
from dllama_engine.collectives.algorithms.star import Star
from dllama_engine.collectives.algorithms.two_shot import TwoShot
from dllama_engine.collectives.base import Collective
from dllama_engine.sharding.collective import Collective as Name

COLLECTIVES: Mapping[Name, Collective] = {
    one.name: one for one in (Mesh(), Doubling(), TwoShot(), Ring(), Star(), GatherBcast())
}
