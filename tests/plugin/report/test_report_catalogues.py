"""The two languages word the same statements, labels and columns."""

from __future__ import annotations

import ast
import fnmatch
import re
from pathlib import Path
from typing import Any, get_args

import pytest

from pytest_dllama.hosts.fleet import preflight
from pytest_dllama.hosts.fleet.clock import ClockOffset
from pytest_dllama.metrics import catalog
from pytest_dllama.record.hosts import FindingKind
from pytest_dllama.report import pages
from pytest_dllama.report.pages.language import LANGUAGES, ReportError, load_words, templates_folder
from pytest_dllama.report.sentences import comparison, hosts, resources, scaling, status
from pytest_dllama.report.sentences.base import Sentence

HELPERS = {"where"}  # macros used by other macros
ROOMS = (status, comparison, resources, hosts, scaling)


def _keys(words: dict[str, Any], prefix: str = "") -> set[str]:
    keys: set[str] = set()
    for key, value in words.items():
        name = f"{prefix}{key}"
        keys |= _keys(value, f"{name}.") if isinstance(value, dict) else {name}
    return keys


def test_word_lists_have_the_same_keys() -> None:
    lists = [load_words(language, templates_folder()) for language in LANGUAGES]
    keys = [{k for k in _keys(words) if not k.startswith("definitions.")} for words in lists]
    assert keys[0] == keys[1]


@pytest.mark.parametrize("language", LANGUAGES)
def test_every_sentence_has_one_macro(language: str) -> None:
    told = set()
    for room in ROOMS:
        kinds = {
            kind.macro()
            for kind in vars(room).values()
            if isinstance(kind, type) and issubclass(kind, Sentence) and kind is not Sentence
        }
        name = room.__name__.rpartition(".")[2]
        file = templates_folder() / language / f"sentences/{name}.md.j2"
        macros = re.findall(r"macro (\w+)\(", file.read_text(encoding="utf-8"))
        assert len(macros) == len(set(macros))
        assert set(macros) - HELPERS == kinds
        told |= set(macros)
    assert told >= HELPERS


def test_korean_definitions_translate_the_current_ones() -> None:
    translations = load_words("ko", templates_folder())["definitions"]
    assert {name: item["of"] for name, item in translations.items()} == catalog.all_definitions()


@pytest.mark.parametrize("language", LANGUAGES)
def test_every_problem_and_flag_of_a_host_has_words(language: str) -> None:
    words = load_words(language, templates_folder())
    assert set(words["host_problems"]) == set(get_args(FindingKind))
    assert set(words["throttled"]) == set(preflight.THROTTLED_BITS.values())


@pytest.mark.parametrize("language", LANGUAGES)
def test_the_words_of_a_problem_use_the_values_that_come_with_it(language: str) -> None:
    words = load_words(language, templates_folder())["host_problems"]
    facts = {
        "bits": 32,
        "machine": "armv7l",
        "available_bytes": 1,
        "disk_free_bytes": 1,
        "swap_used_bytes": 1,
        "governor": "ondemand",
        "throttled": 1,
        "temperature_c": 99.0,
        "load_1min": 9.0,
        "cores": 4,
        "links": [{"name": "eth0", "speed_mbps": 10, "duplex": "half"}],
    }
    found = preflight.findings(
        facts, preflight.Need(2, 2), ClockOffset(9.0, 0.01), ["kept-pi1/worker"]
    )
    found += preflight.findings(facts, preflight.Need(2, 4, ("pi1", "pi2")), None)
    for finding in found:
        assert set(re.findall(r"{(\w+)}", words[finding.kind])) <= set(finding.values)
    assert {finding.kind for finding in found} == set(words)


def _words_of_pages() -> set[str]:
    """Paths of the texts that the document names; what is computed in one is a `*`."""
    paths = set()
    for file in Path(str(pages.__file__)).parent.rglob("*.py"):
        for call in ast.walk(ast.parse(file.read_text(encoding="utf-8"))):
            if not isinstance(call, ast.Call) or not isinstance(call.func, ast.Name):
                continue
            prefix, at = NAMED_BY.get(call.func.id, ("", None))
            if at is not None and len(call.args) > at:
                paths |= {prefix + path for path in _texts(call.args[at])}
    return paths


# function -> (what stands before the path, position of the argument)
NAMED_BY = {
    "Words": ("", 0),
    "said": ("", 0),
    "heading": ("", 1),
    "label": ("labels.", 0),
    "labelled": ("labels.", 0),
}


def _texts(node: ast.expr) -> set[str]:
    match node:
        case ast.Constant(value=str(text)):
            return {text}
        case ast.IfExp(body=body, orelse=orelse):
            return _texts(body) | _texts(orelse)
        case ast.JoinedStr(values=values):
            return {"".join(v.value if isinstance(v, ast.Constant) else "*" for v in values)}
        case _:
            return set()


@pytest.mark.parametrize("language", LANGUAGES)
def test_every_word_used_exists(language: str) -> None:
    words = load_words(language, templates_folder())
    known = _keys(words)
    sources = [path.read_text(encoding="utf-8") for path in templates_folder().rglob("*.j2")]
    used = set(re.findall(r"words\.(\w+\.\w+)", "".join(sources)))
    assert not used - known
    named = _words_of_pages()
    assert len(named) > 60
    assert {path for path in named if not fnmatch.filter(known, path)} == set()


def test_no_heading_or_text_is_left_over() -> None:
    known = _keys(load_words("en", templates_folder()))
    named = _words_of_pages() | EXPLAINED
    shown = {path for pattern in named for path in fnmatch.filter(known, pattern)}
    sources = [path.read_text(encoding="utf-8") for path in templates_folder().rglob("*.j2")]
    shown |= set(re.findall(r"words\.(\w+\.\w+)", "".join(sources)))
    groups = ("title.", "sections.", "headings.", "text.", "labels.")
    assert {path for path in known - shown if path.startswith(groups)} == set()


# Named in a list of pairs, not in a call.
EXPLAINED = {"text.output_explained", "text.verdict_explained", "title.scaling", "title.single"}


def test_missing_templates_are_explained(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("pytest_dllama.report.pages.language.LAYOUT", "gone.md.j2")
    with pytest.raises(ReportError, match=r"gone\.md\.j2 is missing in .*reinstall pytest-dllama"):
        templates_folder()
