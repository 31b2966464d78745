"""Revisions of a git checkout: found, exported, and a place for what is built of them."""

from __future__ import annotations

import difflib
import io
import json
import os
import re
import shlex
import shutil
import signal
import subprocess
import tarfile
from collections.abc import Callable, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path

from pytest_dllama.backends.process_guard import ended_with
from pytest_dllama.config.values import ConfigError
from pytest_dllama.files.locks import locked
from pytest_dllama.files.user_files import cache_folder
from pytest_dllama.files.whole_file import write_whole
from pytest_dllama.lab.builds.commits import own_repository

BUILD_TIMEOUT_S = 900.0
_IS_ERROR = re.compile(r"\berror:", re.IGNORECASE)  # as compilers, linkers and pip begin one
_PIPS_END = "[end of output]"
_ANOTHERS = b"dubious ownership"  # git's words, the same in every version since it refuses
_MARK = "build.json"  # written last: a folder without it is no build


@dataclass(frozen=True, slots=True)
class Revision:
    """A commit of a checkout."""

    checkout: Path
    commit: str  # whole
    text: str  # as asked for

    @property
    def label(self) -> str:
        """For people.

        >>> Revision(Path(), "a1" * 20, "main").label, Revision(Path(), "a1" * 20, "a1" * 20).label
        ('main (a1a1a1a1a1)', 'a1a1a1a1a1')
        """
        short = self.commit[:10]
        return short if self.commit.startswith(self.text) else f"{self.text} ({short})"


def find_revision(checkout: Path, text: str, remedy: str) -> Revision:
    """The commit that a revision's name means.

    Raises:
        ConfigError: no checkout that git reads (with this remedy), or no such revision, with the
            nearest name.
    """
    found = _git(checkout, "rev-parse", "--verify", "--quiet", f"{text}^{{commit}}")
    if found.returncode == 0:
        return Revision(checkout, found.stdout.decode().strip(), text)
    repository = _git(checkout, "rev-parse", "--git-dir")
    if _ANOTHERS in repository.stderr:
        raise ConfigError(
            f"--baseline: git does not read {checkout}, which belongs to another user; if you "
            f"trust it: git config --global --add safe.directory {shlex.quote(str(checkout))}"
        )
    if repository.returncode != 0:
        raise ConfigError(f"--baseline: {checkout} is no git checkout; {remedy}")
    raise ConfigError(
        f"--baseline: {checkout} has no revision {text!r}; {_where_it_may_be(checkout, text)}"
    )


def _where_it_may_be(checkout: Path, text: str) -> str:
    """What to try where a revision is not there, as in the shallow clones of CI."""
    listed = _git(checkout, "for-each-ref", "--format=%(refname:short)").stdout.decode().split()
    near = difflib.get_close_matches(text, listed, 1, 0.5)
    if near:
        return f"did you mean {near[0]!r}?"
    if _git(checkout, "rev-parse", "--is-shallow-repository").stdout.strip() == b"true":
        return "it is a shallow clone: git fetch --unshallow brings its older commits"
    return "see git branch -a and git tag"


def archive(revision: Revision) -> bytes:
    """All files of a revision, as a tar archive.

    Raises:
        ConfigError: git cannot write it.
    """
    done = _git(revision.checkout, "archive", "--format=tar", revision.commit)
    if done.returncode != 0:
        raise ConfigError(
            f"--baseline: {revision.label} cannot be exported: {last_words(done.stderr)}"
        )
    return done.stdout


def export(revision: Revision, folder: Path) -> None:
    """Put the files of a revision into a new folder."""
    folder.mkdir(parents=True)
    with tarfile.open(fileobj=io.BytesIO(archive(revision))) as files:
        files.extractall(folder, filter="data")


def builds_folder() -> Path:
    """Where builds are kept between runs."""
    return cache_folder() / "builds"


def kept_build(
    name: str, about: Mapping[str, str], build: Callable[[Path], None], announce: Callable[[], None]
) -> Path:
    """The folder of a build, made unless it is there; never a half one.

    Args:
        name: of the folder; says all that the build depends on.
        about: what the list of builds shows of it.
        build: makes it in the folder that it is given.
        announce: called before that.
    """
    folder = builds_folder() / name
    folder.parent.mkdir(parents=True, exist_ok=True)
    with locked(folder.with_name(f"{folder.name}.lock")):
        if not (folder / _MARK).is_file():
            announce()
            shutil.rmtree(folder, ignore_errors=True)
            folder.mkdir(parents=True)
            try:
                build(folder)
                write_whole(folder / _MARK, json.dumps(dict(about)))
            except BaseException:
                shutil.rmtree(folder, ignore_errors=True)
                raise
    return folder


def run_build(command: Sequence[str], revision: Revision, what: str) -> None:
    """Run one step of a build.

    Raises:
        ConfigError: it fails or takes too long, with its last words.
    """
    if shutil.which(command[0]) is None:
        raise ConfigError(f"--baseline: {command[0]} cannot be run: no such program")
    try:
        done = _in_its_group(command)
    except subprocess.TimeoutExpired:
        raise ConfigError(
            f"--baseline: {revision.label} was not {what} within {BUILD_TIMEOUT_S:g} s"
        ) from None
    if done.returncode != 0:
        words = last_words(done.stderr or done.stdout)
        log = builds_folder() / f"{revision.commit[:16]}.log"  # `builds clear` takes it along
        log.write_bytes(done.stdout + done.stderr)
        raise ConfigError(
            f"--baseline: {revision.label} cannot be {what}: {words}; all that it printed is in "
            f"{log}"
        )


def _in_its_group(command: Sequence[str]) -> subprocess.CompletedProcess[bytes]:
    """Run it to its end; it and all that it started end with us, whatever breaks us off.

    Raises:
        subprocess.TimeoutExpired: it takes too long.
    """
    guarded = ended_with(str(os.getpid()), command)
    nothing, pipe = subprocess.DEVNULL, subprocess.PIPE
    with subprocess.Popen(
        guarded, stdin=nothing, stdout=pipe, stderr=pipe, process_group=0
    ) as build:
        try:
            out, err = build.communicate(timeout=BUILD_TIMEOUT_S)
        except BaseException:
            with suppress(ProcessLookupError):
                os.killpg(build.pid, signal.SIGKILL)
            raise
    return subprocess.CompletedProcess(command, build.returncode, out, err)


def last_words(output: bytes) -> str:
    r"""The first error of a compiler, or else the last line; make only says that there was one.

    Of a package that does not build pip shows the output with an end below it.

    >>> last_words(b"error: subprocess-exited\n  E: no suites\n  [end of output]\nerror: failed")
    'E: no suites'
    """
    lines = output.decode("utf-8", "replace").strip().splitlines()
    shown = [line.strip() for line in lines]
    if _PIPS_END in shown[1:]:
        return shown[shown.index(_PIPS_END) - 1]
    telling = [line.strip() for line in lines if not line.startswith("make")]
    errors = [line for line in telling if _IS_ERROR.search(line)]
    return errors[0] if errors else (telling or lines or ["no reason given"])[-1]


def list_builds() -> list[tuple[str, str, int]]:
    """What each kept build is, of which checkout, and its bytes."""
    found = []
    for mark in sorted(builds_folder().glob(f"*/{_MARK}")):
        about = json.loads(mark.read_text())
        size = sum(f.lstat().st_size for f in mark.parent.rglob("*") if f.is_file())
        what = f"{str(about['commit'])[:12]}  {about.get('kind', 'engine'):6}"
        found.append((what, str(about["checkout"]), size))
    return found


def clear_builds() -> int:
    """Remove every build; how many there were."""
    n = len(list_builds())
    shutil.rmtree(builds_folder(), ignore_errors=True)
    return n


def _git(checkout: Path, *arguments: str) -> subprocess.CompletedProcess[bytes]:
    try:
        return subprocess.run(
            ["git", "-C", str(checkout), *arguments], capture_output=True, env=own_repository()
        )
    except OSError:
        raise ConfigError("--baseline: a revision needs the program git; install it") from None
