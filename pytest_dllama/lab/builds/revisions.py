"""The embedded engine at another revision: its wheel, and an environment that has it.

Both sides of a comparison get the same numpy, numba and LLVM where the revision allows it: the code
is compared, not what an index of packages has today.
"""

from __future__ import annotations

import hashlib
import json
import shutil
import sys
import tomllib
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from importlib.metadata import PackageNotFoundError, distribution, version
from pathlib import Path
from typing import Any
from urllib.parse import unquote, urlparse

from pytest_dllama.config.values import ConfigError
from pytest_dllama.hosts.command import PROGRAM
from pytest_dllama.hosts.packages.wheel import (
    COMPILER,
    DISTRIBUTION,
    PACKAGE,
    Wheel,
    engine_needs,
    wheel_of,
)
from pytest_dllama.lab.builds.checkout import (
    Revision,
    export,
    find_revision,
    kept_build,
    run_build,
)

SHARED = ("numpy", "numba", "llvmlite")  # whose versions decide how fast compiled code is


@dataclass(frozen=True, slots=True)
class Build:
    """An installed revision of the engine."""

    revision: Revision
    environment: Path
    wheel: Wheel | None  # for other hosts; None: a revision of before the engine had a package


def own_checkout() -> Path | None:
    """The checkout that this installation is an editable one of; None for a wheel."""
    try:
        text = distribution(DISTRIBUTION).read_text("direct_url.json") or "{}"
    except PackageNotFoundError:
        return None
    about = json.loads(text)
    if not about.get("dir_info", {}).get("editable"):
        return None
    return Path(unquote(urlparse(about["url"]).path))


def build_revision(path: str, revision: str, tell: Callable[[str], None]) -> Build:
    """The build of a revision, made unless it is there.

    Raises:
        ConfigError: no checkout, no such revision (with the nearest name), or it does not install.
    """
    checkout = Path(path) if path else own_checkout()
    if checkout is None:
        raise ConfigError(
            f"--baseline git:{revision}: pytest-dllama is installed from a wheel, so there is no "
            "checkout whose revisions could be built; write git:PATH@REV"
        )
    found = find_revision(checkout, revision, "write git:PATH@REV")
    about = {"kind": "engine", "commit": found.commit, "checkout": str(checkout)}
    folder = kept_build(
        _name(found),
        about,
        lambda folder: _install(found, folder),
        lambda: tell(f"building {found.label}, kept for later runs"),
    )
    return Build(found, folder / "env", _kept_wheel(folder))


def _name(revision: Revision) -> str:
    """All that a build depends on: the commit, the interpreter, what it shares with us."""
    python = f"py{sys.version_info.major}{sys.version_info.minor}"
    shared = hashlib.sha256("\n".join(_constraints()).encode()).hexdigest()[:8]
    return f"{revision.commit[:16]}-{python}-{shared}"


def _constraints() -> list[str]:
    """Our own versions of what both sides should share."""
    found = []
    for name in SHARED:
        try:
            found.append(f"{name}=={version(name)}")
        except PackageNotFoundError:
            continue
    return found


def _install(revision: Revision, folder: Path) -> None:
    source, environment = folder / "source", folder / "env"
    export(revision, source)
    if not (source / "pyproject.toml").is_file():
        raise ConfigError(
            f"--baseline: {revision.label} of {revision.checkout} has no pyproject.toml; it must "
            "be a checkout of pytest-dllama"
        )
    targets = [str(source)]  # all of it, where the engine has no package of its own yet
    if (source / "engine" / PACKAGE).is_dir():
        needs = _dependencies(source)
        wheel = wheel_of(source / "engine" / PACKAGE, _version(source), engine_needs(needs))
        kept = folder / "wheel" / wheel.name
        kept.parent.mkdir()
        kept.write_bytes(wheel.data)
        targets = [str(kept), *engine_needs(needs, [COMPILER])]
    run_build([sys.executable, "-m", "venv", str(environment)], revision, "installed")
    limits = folder / "constraints.txt"
    limits.write_text("\n".join(_constraints()) + "\n")
    pip = [str(environment / "bin" / "python"), "-I", "-m", "pip", "--disable-pip-version-check"]
    install = [*pip, "install", "--quiet", *targets]
    try:
        run_build([*install, "--constraint", str(limits)], revision, "installed")
    except ConfigError:
        run_build(install, revision, "installed")  # it needs other versions than ours
    if not (environment / "bin" / PROGRAM).is_file():
        raise ConfigError(f"--baseline: {revision.label} installs no {PROGRAM}")
    shutil.rmtree(source)


def _project(source: Path) -> Mapping[str, Any]:
    file = source / "pyproject.toml"
    text = file.read_text(encoding="utf-8") if file.is_file() else ""
    found: Mapping[str, Any] = tomllib.loads(text).get("project", {})
    return found


def _dependencies(source: Path) -> list[str]:
    return [str(text) for text in _project(source).get("dependencies", [])]


def _version(source: Path) -> str:
    return str(_project(source).get("version", "0"))


def _kept_wheel(folder: Path) -> Wheel | None:
    for path in (folder / "wheel").glob("*.whl"):
        data = path.read_bytes()
        return Wheel(path.name, data, hashlib.sha256(data).hexdigest()[:16])
    return None
