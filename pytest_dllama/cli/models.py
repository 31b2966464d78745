"""`pytest-dllama models list|clear`: synthetic models, and weights that local workers keep."""

from __future__ import annotations

import argparse
import sys
import time
from collections.abc import Sequence
from datetime import datetime
from pathlib import Path

from pytest_dllama.amounts import counted
from pytest_dllama.models import engine_facts
from pytest_dllama.models.kept import KeptModel, cache_folder, kept_models, remove

_DAY_S = 86400.0


def add_models(commands: argparse._SubParsersAction[argparse.ArgumentParser]) -> None:
    """Declare the commands."""
    models = commands.add_parser(
        "models",
        help="the cache of synthetic models and of workers' weights: what it holds, clearing it",
        description="Models of --models synthetic:SHAPE are written once and kept in the user's "
        "cache folder; workers of this machine keep what another machine's root sent them "
        "(dllama-py worker --weight-cache). A run that needs what was removed makes it again.",
    )
    kinds = models.add_subparsers(title="commands", metavar="COMMAND", required=True)
    show = kinds.add_parser("list", help="names, sizes and last use, the longest unused first")
    show.set_defaults(command=_list)
    clear = kinds.add_parser(
        "clear",
        help="remove models",
        epilog="examples: pytest-dllama models clear llama-160m; "
        "pytest-dllama models clear --older-than 30",
    )
    clear.add_argument(
        "names", metavar="NAME", nargs="*", help="as `list` shows it (default: every model)"
    )
    clear.add_argument(
        "--older-than", metavar="DAYS", type=_days, help="only what was not used for so many days"
    )
    clear.set_defaults(command=_clear)


def _days(text: str) -> float:
    try:
        days = float(text)
    except ValueError:
        days = -1.0
    if not 0 <= days < float("inf"):
        raise argparse.ArgumentTypeError(f"{text!r}: expected a number of days, 0 or more")
    return days


def _list(arguments: argparse.Namespace) -> int:
    folder = cache_folder()
    models = kept_models(folder)
    if models:
        width = max(len(model.name) for model in models)
        print(f"{'NAME':{width}}  {'SIZE':>9}  LAST USED")
        for model in models:
            used = datetime.fromtimestamp(model.used_s)
            print(f"{model.name:{width}}  {_size(model.size_bytes):>9}  {used:%Y-%m-%d %H:%M}")
    print(_summary(models, folder))
    if shares := engine_facts.kept_weights():
        print(f"{_shares(shares)} in {engine_facts.weights_folder()}")
    return 0


def _shares(shares: Sequence[tuple[Path, int, float]]) -> str:
    total = _size(sum(size for _, size, _ in shares))
    return f"workers keep {counted(len(shares), 'share')} of weights, {total}"


def _summary(models: list[KeptModel], folder: Path) -> str:
    if not models:
        return f"no synthetic model is kept in {folder}"
    total = _size(sum(model.size_bytes for model in models))
    return f"{counted(len(models), 'model')}, {total} in {folder}"


def _clear(arguments: argparse.Namespace) -> int:
    folder = cache_folder()
    models = kept_models(folder)
    names = [model.name for model in models]
    unknown = [name for name in arguments.names if name not in names]
    if unknown:
        known = ", ".join(sorted(names)) or "none"
        print(
            f"pytest-dllama: models clear {unknown[0]}: no such model is kept in {folder}; there "
            f"is {known}",
            file=sys.stderr,
        )
        return 2
    chosen = [model for model in models if not arguments.names or model.name in arguments.names]
    if arguments.older_than is not None:
        limit_s = time.time() - arguments.older_than * _DAY_S
        chosen = [model for model in chosen if model.used_s <= limit_s]
    clears_all = not arguments.names and arguments.older_than is None
    freed = remove(folder, chosen, all_rests=clears_all)
    print(f"{counted(len(chosen), 'model')} removed, {_size(freed)} freed")
    if not arguments.names:
        _clear_shares(limit_s if arguments.older_than is not None else None)
    return 0


def _clear_shares(used_before_s: float | None) -> None:
    """What workers keep of weights; one that is being filled stays."""
    shares = [
        share
        for share in engine_facts.kept_weights()
        if used_before_s is None or share[2] <= used_before_s
    ]
    removed = [share for share in shares if engine_facts.remove_weights(share[0])]
    if removed:
        print(f"{_shares(removed)}: removed")


def _size(n_bytes: int) -> str:
    """A size on disk.

    >>> _size(950), _size(61_400_000), _size(6_300_000_000)
    ('0.0 MB', '61.4 MB', '6.3 GB')
    """
    return f"{n_bytes / 1e9:.1f} GB" if n_bytes >= 1e9 else f"{n_bytes / 1e6:.1f} MB"
