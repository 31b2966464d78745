"""Every way to say what a run is compared with, and every wrong one."""

from __future__ import annotations

import pytest

from pytest_dllama.config.baseline import Baseline, parse_baseline
from pytest_dllama.config.values import ConfigError


@pytest.mark.parametrize(
    ("text", "kind", "path", "revision"),
    [
        ("self", "self", "", ""),
        ("git:v0.1.0", "git", "", "v0.1.0"),
        ("git:HEAD~3", "git", "", "HEAD~3"),
        ("git:../other@main", "git", "../other", "main"),
        ("git:/a@b/checkout@feature/x", "git", "/a@b/checkout", "feature/x"),
        ("dllama:/opt/dllama", "dllama", "/opt/dllama", ""),
    ],
)
def test_specs(text: str, kind: str, path: str, revision: str) -> None:
    found = parse_baseline(text)
    assert (found.kind, found.path, found.revision) == (kind, path, revision)


def test_options() -> None:
    found = parse_baseline("option:nthreads=2, sync-mode=invariant")
    assert isinstance(found, Baseline)
    assert dict(found.options) == {"nthreads": "2", "sync-mode": "invariant"}


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("gti:main", "did you mean 'git'"),
        ("main", "write self, git:REV"),
        ("git:", "write self, git:REV"),
        ("git:path@", "a revision is missing behind @"),
        ("option:nthread=2", "did you mean 'nthreads'"),
        ("option:nthreads=0", "a whole number of at least 1"),
        ("option:nthreads", "a whole number of at least 1"),
        ("option:buffer-float-type=q81", "write q80 or f32"),
        ("option:colour=red", "there are nthreads, buffer-float-type, sync-mode"),
    ],
)
def test_what_cannot_be(text: str, words: str) -> None:
    with pytest.raises(ConfigError, match=words):
        parse_baseline(text)
