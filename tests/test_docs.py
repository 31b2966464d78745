"""What the documents name is there: links, anchors, commands, flags, targets, ini keys."""

from __future__ import annotations

import argparse
import re
import shlex
from collections.abc import Iterator
from functools import cache
from importlib import import_module
from pathlib import Path

import pytest

from dllama_engine.cli.flags.parsing import build_parser
from pytest_dllama.cli.main import COMMANDS
from pytest_dllama.config.options import SETTINGS
from tests.data import ROOT

PAGES = [
    *(ROOT / name for name in ("README.md", "CONTRIBUTING.md", "CHANGELOG.md", "README.ko.md")),
    *sorted((ROOT / "docs").glob("*.md")),
    ROOT / "engine/dllama_engine/models/tiny.md",
]
_LINK = re.compile(r"\[[^\]]*\]\((?P<target>[^)\s]+)\)")
_FLAG = re.compile(r"^--[a-z][a-z0-9-]*")
# Of pytest itself and of plugins beside us; what each of them has is theirs to say.
OTHERS = re.compile(
    r"--(benchmark-\w+(-\w+)*|junitxml|timeout-method|durations|import-mode|override-ini|collect-only)"
)
# Of programs that a command line of ours only passes on.
SWEPT = re.compile(r"--(net-turbo|moe-cache)")


def _lines(page: Path) -> Iterator[tuple[str, bool]]:
    """Each line, and whether it is code."""
    fenced = False
    for line in page.read_text(encoding="utf-8").splitlines():
        if line.lstrip().startswith("```"):
            fenced = not fenced
            continue
        yield line, fenced or line.startswith("    ")


def _anchors(page: Path) -> set[str]:
    """What GitHub makes of the headings."""
    found = set()
    for line, is_code in _lines(page):
        if not is_code and (heading := re.match(r"#+ (.*)", line)):
            text = re.sub(r"[`*]|\]\([^)]*\)|\[", "", heading[1]).strip().lower()
            found.add(re.sub(r"[^\w\- ]", "", text).replace(" ", "-"))
    return found


@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.name)
def test_links_lead_somewhere(page: Path) -> None:
    missing = []
    for found in _LINK.finditer(page.read_text(encoding="utf-8")):
        path, _, anchor = found["target"].partition("#")
        if path.startswith(("http:", "https:", "mailto:")):
            continue
        target = (page.parent / path).resolve() if path else page
        has_anchor = not anchor or (target.suffix == ".md" and anchor in _anchors(target))
        if not (target.exists() and has_anchor):
            missing.append(found["target"])
    assert missing == []


def test_every_document_is_linked() -> None:
    linked = {
        (page.parent / found["target"].partition("#")[0]).resolve()
        for page in PAGES
        for found in _LINK.finditer(page.read_text(encoding="utf-8"))
    }
    assert [page.name for page in PAGES[3:] if page.resolve() not in linked] == []


def _commands(page: Path) -> Iterator[list[str]]:
    """The command lines of our programs that a page prints, in code and within a sentence."""
    held = ""
    for line, is_code in _lines(page):
        texts = [held + line] if is_code else re.findall(r"`([^`]+)`", line)
        held = ""
        if is_code and line.rstrip().endswith("\\"):
            held = texts[0].rstrip().removesuffix("\\") + " "
            continue
        for text in texts:
            for part in re.split(r"&&|\|(?!\|)|;| #", text):
                yield from _words(part)


def _words(text: str) -> Iterator[list[str]]:
    try:
        words = shlex.split(text.strip().removeprefix("$ "))
    except ValueError:
        return
    while words and re.fullmatch(r"\w+=\S*|nice|chronic|time|-n|\d+|sudo", words[0]):
        words = words[1:]
    if words and Path(words[0]).name in ("pytest", "pytest-dllama", "dllama-py", "make"):
        yield [Path(words[0]).name, *words[1:]]


@cache
def _flags_of(program: str, command: str = "") -> frozenset[str]:
    if program == "pytest":
        return frozenset(flag for s in SETTINGS for flag in (s.flag, s.long_flag))
    if program == "dllama-py":
        parser: argparse.ArgumentParser = build_parser()
    else:
        parser = argparse.ArgumentParser()
        module, _, declare = COMMANDS[command].partition(":")
        declared = getattr(import_module(f"pytest_dllama.cli.{module}"), declare)
        declared(parser.add_subparsers())
    return frozenset(_all_flags(parser))


def _all_flags(parser: argparse.ArgumentParser) -> Iterator[str]:
    for action in parser._actions:
        yield from action.option_strings
        if isinstance(action, argparse._SubParsersAction):
            for inner in action.choices.values():
                yield from _all_flags(inner)


@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.name)
def test_commands_and_flags_are_there(page: Path) -> None:
    targets = set(re.findall(r"^([a-z-]+):", (ROOT / "Makefile").read_text("utf-8"), re.MULTILINE))
    wrong = []
    for program, *words in _commands(page):
        known: frozenset[str] = frozenset()
        if program == "make":
            named = [word for word in words[:1] if re.fullmatch(r"[a-z][a-z-]*", word)]
            wrong += [f"make {name}" for name in named if name not in {*targets, "dllama"}]
            continue
        if program == "pytest-dllama":
            command = next((word for word in words if not word.startswith("-")), "")
            if command not in COMMANDS:
                wrong += [f"pytest-dllama {command}"] if re.fullmatch(r"[a-z-]+", command) else []
                continue
            known = _flags_of(program, command) | _flags_of("pytest")  # bench, nightly pass on
        else:
            known = _flags_of(program)
        flags = [found[0] for word in words if (found := _FLAG.match(word))]
        wrong += [
            f"{program} {flag}"
            for flag in flags
            if flag not in {*known, "--help", "--version"} and not OTHERS.fullmatch(flag)
            if not SWEPT.fullmatch(flag)
        ]
    assert wrong == []


@pytest.mark.parametrize("page", [*PAGES, ROOT / "Makefile"], ids=lambda page: page.name)
def test_programs_are_there(page: Path) -> None:
    """What is run with `python -m`, and what is named in short: `benchmarks.kernels.ports`."""
    text = re.sub(r"\s+", " ", page.read_text(encoding="utf-8"))  # a line may end before the name
    named = re.findall(r"(?:-m |`)((?:benchmarks|tests|training)(?:\.\w+)*)\b(?!/)", text)
    missing = []
    for name in sorted({name for name in named if "NAME" not in name}):
        path = ROOT / name.replace(".", "/")
        if not (path.with_suffix(".py").exists() or (path / "__main__.py").exists()):
            missing.append(name)
    assert missing == []


@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.name)
def test_ini_keys_are_there(page: Path) -> None:
    named = set(re.findall(r"\bdllama_[a-z_]+(?= =|`)", page.read_text(encoding="utf-8")))
    keys = {setting.key for setting in SETTINGS}
    others = {"dllama_engine", "dllama_threshold", "dllama_verdict", "dllama_tpot_seconds"}
    assert named - keys - others == set()
