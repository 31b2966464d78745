"""What all parts of a run file share."""

from __future__ import annotations

from typing import Any, Literal

from pydantic import BaseModel, ConfigDict, field_validator

Role = Literal["root", "worker"]


class Record(BaseModel):
    """Frozen and strict: an unknown key is an error, so that a typo never becomes a lost figure."""

    model_config = ConfigDict(frozen=True, extra="forbid", ser_json_inf_nan="null")

    @field_validator("*", mode="before")
    @classmethod
    def _as_text(cls, value: Any) -> Any:
        """JSON has no bytes that are no UTF-8: in prompts, commands and paths they are shown."""
        return printable(value)


def printable(value: Any) -> Any:
    r"""Text with what is no UTF-8 escaped, in tuples and lists too; all else as it is.

    >>> printable(("--prompt", "caf\udce9"))
    ('--prompt', 'caf\\xe9')
    """
    if isinstance(value, str) and not value.isascii():
        return _escaped(value)
    if isinstance(value, tuple | list):
        return type(value)(map(printable, value)) if type(value) in (tuple, list) else value
    return value


def _escaped(text: str) -> str:
    try:
        data = text.encode("utf-8", "surrogateescape")
    except UnicodeEncodeError:  # half a character that never was a byte
        data = text.encode("utf-8", "backslashreplace")
    return data.decode("utf-8", "backslashreplace")
