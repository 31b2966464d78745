"""The two languages word the same statements, labels and columns."""

from __future__ import annotations

import re
from typing import Any, get_args

import pytest

from pytest_dllama.hosts.fleet import preflight
from pytest_dllama.metrics import catalog
from pytest_dllama.record.hosts import FindingKind
from pytest_dllama.report.pages.markdown import LANGUAGES, ReportError, load_words, templates_folder
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
    found = preflight.findings(facts, preflight.Need(2, 2), 9.0, ["kept-pi1/worker"])
    found += preflight.findings(facts, preflight.Need(2, 4, ("pi1", "pi2")), 0.0)
    for finding in found:
        assert set(re.findall(r"{(\w+)}", words[finding.kind])) <= set(finding.values)
    assert {finding.kind for finding in found} == set(words)


@pytest.mark.parametrize("language", LANGUAGES)
def test_every_word_used_exists(language: str) -> None:
    words = load_words(language, templates_folder())
    sources = [path.read_text(encoding="utf-8") for path in templates_folder().rglob("*.j2")]
    used = set(re.findall(r"words\.(\w+\.\w+)", "".join(sources)))
    assert not used - _keys(words)


def test_missing_templates_are_explained(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("pytest_dllama.report.pages.markdown._LAYOUT", "gone.md.j2")
    with pytest.raises(ReportError, match=r"gone\.md\.j2 is missing in .*reinstall pytest-dllama"):
        templates_folder()
