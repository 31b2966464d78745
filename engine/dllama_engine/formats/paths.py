"""From what the command line calls a model to its two files."""

from __future__ import annotations

from pathlib import Path

from dllama_engine.errors import ModelFileError, TokenizerError

SHIPPED = Path(__file__).parent.parent / "models"


def model_path(name: str) -> Path:
    """A path, or the file of a shipped model.

    Raises:
        ModelFileError: neither.
    """
    path = Path(name)
    if path.exists():
        return path
    shipped = SHIPPED / f"{name}.m"
    if path.name == name and shipped.exists():
        return shipped
    names = ", ".join(sorted(file.stem for file in SHIPPED.glob("*.m"))) or "none"
    raise ModelFileError(f"{name}: no such model file; shipped models: {names}")


def tokenizer_path(name: str | None, model: Path) -> Path:
    """A path, or the `.t` file beside the model.

    Raises:
        TokenizerError: there is none.
    """
    if name is not None:
        path = Path(name)
        return path if path.exists() or path.name != name else _shipped_tokenizer(path)
    beside = model.with_suffix(".t")
    if not beside.exists():
        raise TokenizerError(f"{beside}: no such tokenizer file; give one with --tokenizer")
    return beside


def _shipped_tokenizer(path: Path) -> Path:
    shipped = SHIPPED / f"{path.name}.t"
    return shipped if shipped.exists() else path
