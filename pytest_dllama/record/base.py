"""What all parts of a run file share."""

from __future__ import annotations

from typing import Literal

from pydantic import BaseModel, ConfigDict

Role = Literal["root", "worker"]


class Record(BaseModel):
    """Frozen and strict: an unknown key is an error, so that a typo never becomes a lost figure."""

    model_config = ConfigDict(frozen=True, extra="forbid", ser_json_inf_nan="null")
