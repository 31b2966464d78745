"""Other revisions of the embedded engine: exported, installed apart, kept by commit."""

from __future__ import annotations

import difflib
import fcntl
import io
import json
import shutil
import subprocess
import sys
import tarfile
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from importlib.metadata import PackageNotFoundError, distribution
from pathlib import Path
from urllib.parse import unquote, urlparse

import platformdirs

from pytest_dllama.config.values import ConfigError

DISTRIBUTION = "pytest-dllama"
BUILD_TIMEOUT_S = 900.0
_MARK = "build.json"  # written last: a folder without it is no build


@dataclass(frozen=True, slots=True)
class Build:
    """An installed revision."""

    commit: str
    revision: str  # as asked for
    environment: Path


def builds_folder() -> Path:
    """Where builds are kept between runs."""
    return Path(platformdirs.user_cache_dir("pytest-dllama")) / "builds"


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
    commit = _commit(checkout, revision)
    folder = builds_folder() / f"{commit[:16]}-py{sys.version_info.major}{sys.version_info.minor}"
    with _one_at_a_time(folder):
        if not (folder / _MARK).is_file():
            tell(f"building {revision} ({commit[:10]}), kept for later runs")
            _install(checkout, commit, folder, revision)
    return Build(commit, revision, folder / "env")


def _git(checkout: Path, *arguments: str) -> subprocess.CompletedProcess[bytes]:
    return subprocess.run(["git", "-C", str(checkout), *arguments], capture_output=True)


def _commit(checkout: Path, revision: str) -> str:
    found = _git(checkout, "rev-parse", "--verify", "--quiet", f"{revision}^{{commit}}")
    if found.returncode == 0:
        return found.stdout.decode().strip()
    if _git(checkout, "rev-parse", "--git-dir").returncode != 0:
        raise ConfigError(f"--baseline: {checkout} is no git checkout; write git:PATH@REV")
    listed = _git(checkout, "for-each-ref", "--format=%(refname:short)").stdout.decode().split()
    near = difflib.get_close_matches(revision, listed, 1, 0.5)
    hint = f"did you mean {near[0]!r}?" if near else "see git branch -a and git tag"
    raise ConfigError(f"--baseline: {checkout} has no revision {revision!r}; {hint}")


def _install(checkout: Path, commit: str, folder: Path, revision: str) -> None:
    shutil.rmtree(folder, ignore_errors=True)
    source, environment = folder / "source", folder / "env"
    source.mkdir(parents=True)
    try:
        exported = _git(checkout, "archive", "--format=tar", commit)
        with tarfile.open(fileobj=io.BytesIO(exported.stdout)) as archive:
            archive.extractall(source, filter="data")
        _run([sys.executable, "-m", "venv", str(environment)], revision)
        pip = [str(environment / "bin" / "python"), "-m", "pip", "--disable-pip-version-check"]
        _run([*pip, "install", "--quiet", str(source)], revision)
        if not (environment / "bin" / "dllama-py").is_file():
            raise ConfigError(f"--baseline: {revision} of {checkout} installs no dllama-py")
        about = {"commit": commit, "checkout": str(checkout), "revision": revision}
        (folder / _MARK).write_text(json.dumps(about))
    except BaseException:
        shutil.rmtree(folder, ignore_errors=True)
        raise
    shutil.rmtree(source, ignore_errors=True)


def _run(command: list[str], revision: str) -> None:
    try:
        done = subprocess.run(command, capture_output=True, text=True, timeout=BUILD_TIMEOUT_S)
    except subprocess.TimeoutExpired:
        raise ConfigError(
            f"--baseline: {revision} was not installed within {BUILD_TIMEOUT_S:g} s"
        ) from None
    if done.returncode != 0:
        last = (done.stderr or done.stdout).strip().splitlines()[-1:] or ["no reason given"]
        raise ConfigError(f"--baseline: {revision} cannot be installed: {last[0]}")


@contextmanager
def _one_at_a_time(folder: Path) -> Iterator[None]:
    folder.parent.mkdir(parents=True, exist_ok=True)
    with (folder.parent / f"{folder.name}.lock").open("w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        yield


def list_builds() -> list[tuple[str, str, int]]:
    """Commit, checkout and bytes of each build that is kept."""
    found = []
    for mark in sorted(builds_folder().glob(f"*/{_MARK}")):
        about = json.loads(mark.read_text())
        size = sum(f.lstat().st_size for f in mark.parent.rglob("*") if f.is_file())
        found.append((str(about["commit"]), str(about["checkout"]), size))
    return found


def clear_builds() -> int:
    """Remove every build; how many there were."""
    n = len(list_builds())
    shutil.rmtree(builds_folder(), ignore_errors=True)
    return n
