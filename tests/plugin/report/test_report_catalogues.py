"""The two languages word the same statements, labels and columns."""

from __future__ import annotations

import ast
import fnmatch
import re
import tomllib
from itertools import chain
from pathlib import Path
from typing import Any, get_args

import pytest

import dllama_engine
import pytest_dllama
from pytest_dllama.hosts.fleet import preflight
from pytest_dllama.hosts.fleet.clock import ClockOffset
from pytest_dllama.metrics import catalog
from pytest_dllama.record.cell import Verdict
from pytest_dllama.record.hosts import FindingKind
from pytest_dllama.report import pages
from pytest_dllama.report.figures.token_time import PART_NAMES
from pytest_dllama.report.pages.language import LANGUAGES, ReportError, load_words, templates_folder
from pytest_dllama.report.pages.markdown import render
from pytest_dllama.report.sentences import (
    answer,
    choice,
    comparison,
    energy,
    hosts,
    links,
    resources,
    scaling,
    status,
)
from pytest_dllama.report.sentences.base import Sentence
from tests.plugin.report.report_runs import cell, run

HELPERS = {"where", "more", "work"}  # macros used by other macros
ROOMS = (answer, choice, status, comparison, resources, energy, hosts, links, scaling)


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
        assert set(macros) - HELPERS == kinds, name
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


def _sentences_of_the_program() -> set[str]:
    """Every text of the plugin's source and the engine's, `{}` where it puts a value."""
    found = set()
    files = [Path(str(one.__file__)).parent.rglob("*.py") for one in (pytest_dllama, dllama_engine)]
    for file in chain(*files):
        for node in ast.walk(ast.parse(file.read_text(encoding="utf-8"))):
            if isinstance(node, ast.JoinedStr):
                parts = (v.value if isinstance(v, ast.Constant) else "{}" for v in node.values)
                found.add("".join(map(str, parts)))
            elif isinstance(node, ast.Constant) and isinstance(node.value, str):
                found.add(node.value)
    return found


@pytest.mark.parametrize("language", LANGUAGES)
def test_what_is_translated_is_what_the_program_says(language: str) -> None:
    path = templates_folder() / language / "told.toml"
    entries = tomllib.loads(path.read_text(encoding="utf-8"))["told"] if path.exists() else []
    said = _sentences_of_the_program()
    of = [entry["of"] for entry in entries]
    assert [text for text in of if re.sub(r"\{\d\}", "{}", text) not in said] == []
    assert len(of) == len(set(of))
    for entry in entries:
        places = [sorted(re.findall(r"\{(\d)\}", entry[key])) for key in ("of", "text")]
        assert places[0] == places[1], entry["of"]
    assert language == "en" or len(entries) > 40


def test_the_programs_sentences_are_korean_in_the_korean_report() -> None:
    tie = (
        "output token 29 is 'nase' where one node gave 'fuhe'; a near tie: margin 0.0511, "
        "tolerance 0.179 (rms 0.0434 on 27 equal steps)"
    )
    broken = "worker 1 on pi1: printed nothing that anybody knows"
    told = Verdict(status="PASS", reasons=(tie,))
    cells = [
        cell("a", 2, [1], verdict=told),
        cell("a", 4, status="failed", error="the root ended with exit code 3; its last words: Oh"),
        cell("a", 8, status="failed", error=broken),
    ]
    record = run(cells).model_copy(update={"notes": ("a-2: The run stalled, 9 ms at the longest, "
                                                     "and went on.",)})  # fmt: skip
    text = render(record, "ko")
    assert "출력 토큰 29번이 'nase' (1대 실행은 'fuhe'); 동점에 가까움: 로짓 차이 0.0511" in text
    assert "허용 오차 0.179 (같은 스텝 27개에서 rms 0.0434)" in text
    assert "실행 실패 - 루트가 끝남 (종료 코드 3); 마지막 출력: Oh" in text
    assert "pi1의 워커 1: printed nothing that anybody knows" in text  # nothing is lost
    assert "- 참고: a-2: 실행이 최대 9 ms 멈췄다가 계속됨." in text
    assert tie in render(record, "en")


def test_what_stopped_dllama_is_korean_but_for_its_own_words() -> None:
    deadlock = (
        "readMany gave up after 60000 ms with 8448 bytes still to come; it waited on 3 sockets; it "
        "was in step 17/345 (SYNC_NODES); no single worker is to blame: workers 1, 2, 3 wait too; "
        "each waits for 768 bytes, one chunk of a ring all-reduce (3072 bytes / 4 nodes), while "
        "the root runs star: start the root and every worker with the same --collective; dllama "
        "said: Execution failed in one of the threads"
    )
    text = render(run([cell("a", 4, status="failed", error=deadlock)]), "ko")
    (why,) = [line for line in text.splitlines() if line.startswith("- **원인**")]
    assert (
        "readMany: 8448바이트를 더 받아야 하는데 60000 ms 동안 오지 않아 포기함; 소켓 3개에서 "
        "기다림; 345단계 중 17단계(SYNC_NODES)에서; 원인인 워커가 하나로 좁혀지지 않음: 워커 1, 2, "
        "3도 기다림; 각각 768바이트, 곧 링 all-reduce의 한 조각(3072 B ÷ 4대)을 기다리는데 루트의 "
        "집합 통신은 star: 루트와 모든 워커를 같은 --collective로 시작할 것; dllama의 출력: "
        "Execution failed in one of the threads"
    ) in why


PEER = "worker 2 at 127.0.0.1:9"
ADVICE = "Is that host overloaded, suspended or unreachable? --timeout sets the deadline."
LOOK = "Look at that process's log: it may have been killed, for instance for want of memory."


@pytest.mark.parametrize(
    ("error", "korean"),
    [
        (
            f"{PEER} closed the connection during the session; 0 bytes unsent, 5 received of its "
            f"frame. {LOOK}",
            "127.0.0.1:9의 워커 2: 상대가 연결을 닫음, 작업 세션 중. 보내지 못한 데이터 0 B",
        ),
        (
            f"{PEER} is lost (reset) during LOAD; 0 bytes unsent, 5 received of its frame. {LOOK}",
            "127.0.0.1:9의 워커 2: 연결이 끊어짐 (reset), 작업 LOAD 중.",
        ),
        (f"no sign of life from {PEER} for 5 s. {ADVICE}", "워커 2: 5초 동안 응답이 없음."),
        (
            f"no progress in LOAD for 5 s, waiting for {PEER} (0 bytes unsent, 8 to receive). "
            f"{ADVICE}",
            "기다린 대상: 127.0.0.1:9의 워커 2 (보내지 못한 데이터 0 B, 받을 데이터 8 B).",
        ),
        (
            f"{PEER} reports: no sign of life from root (rank 0) at 10.0.0.1:7 for 5 s. {ADVICE}",
            "127.0.0.1:9의 워커 2의 보고: 10.0.0.1:7의 루트(랭크 0): 5초 동안 응답이 없음.",
        ),
    ],
)
def test_what_the_engine_says_of_lost_nodes_is_korean(error: str, korean: str) -> None:
    assert korean in render(run([cell("a", 4, status="failed", error=error)]), "ko")


def test_missing_templates_are_explained(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("pytest_dllama.report.pages.language.LAYOUT", "gone.md.j2")
    with pytest.raises(ReportError, match=r"gone\.md\.j2 is missing in .*reinstall pytest-dllama"):
        templates_folder()


# Whatever of these modules has the length of a sentence may stand in a run file: as a note, a
# reason, an error of a cell.
TELLING = (
    *("backends.dllama.printed.damage", "backends.dllama.events", "backends.dllama.faults"),
    *("backends.dllama.notes", "backends.dllama.versions"),
    *(
        "backends.dllama.printed.traffic",
        "events.trace",
        "forensics.import_bench",
        "forensics.import_log",
    ),
    *("forensics.bench.aiperf", "forensics.bench.base", "forensics.bench.guidellm"),
    "forensics.report_doubts",
    *("forensics.bench.llama_bench", "forensics.bench.vllm"),
    *("forensics.import_report", "forensics.imported_run", "forensics.imported_roofline"),
    *("hosts.agent.power", "metrics.energy", "metrics.samples", "validity.faults"),
    *(
        "validity.boards",
        "validity.links",
        "validity.output",
        "validity.roofline",
        "validity.text",
        "validity.wire",
        "verdict.limits.limit",
    ),
    *("verdict.cell", "verdict.judge", "verdict.regression", "verdict.stored"),
)
# Parts of sentences that are composed, beside what a command says before there is a run file.
NOT_IN_A_PAGE = (
    "; give the output of the root (dllama", "; save the report as UTF-8", "{}: no UTF-8 text",
    "no section of measured figures", "; add --nodes N", "its head is missing", "it says: ",
    "it ends before it connected",
    "{} tokens/s", "--model-file {}", "is in these files twice", "no line of dllama's",
    "only workers' logs", "pipeline run (pp=", "v0.12.0 to v0.12.7", "some version before",
    "one node: {}", "; at the first token a near tie", "a near tie: ", "worker {} {}",
    "src/funcs.cpp", "src/nn/nn-", "src/dllama.cpp", "src/socket.cpp",  # where a fault is
    "Critical error: Unknown option",
    *("Old model format is not supported", "This version supports only Q40"),  # dllama's words
    *("Invalid tokenizer header key", "This build does not support GPU"),
)  # fmt: skip


def _sentences_of(module: str) -> set[str]:
    """Texts of four words or more, `{}` where a value is put; docstrings are none."""
    path = Path(str(pytest_dllama.__file__)).parent / f"{module.replace('.', '/')}.py"
    tree = ast.parse(path.read_text(encoding="utf-8"))
    skipped: set[int] = set()
    for node in ast.walk(tree):
        if isinstance(node, ast.Expr):
            skipped.add(id(node.value))
        if isinstance(node, ast.JoinedStr):
            skipped |= {id(value) for value in node.values}
    found = set()
    for node in ast.walk(tree):
        if id(node) in skipped:
            continue
        if isinstance(node, ast.JoinedStr):
            parts = (v.value if isinstance(v, ast.Constant) else "{}" for v in node.values)
            found.add("".join(map(str, parts)))
        elif isinstance(node, ast.Constant) and isinstance(node.value, str):
            found.add(node.value)
    return {text for text in found if text.count(" ") >= 3 and re.search("[a-z]{2}", text)}


@pytest.mark.parametrize("module", TELLING)
def test_what_may_stand_in_a_run_file_is_translated(module: str) -> None:
    """A new note or reason needs its Korean in templates/ko/told.toml."""
    path = templates_folder() / "ko/told.toml"
    entries = tomllib.loads(path.read_text(encoding="utf-8"))["told"]
    known = {re.sub(r"\{\d\}", "{}", entry["of"]) for entry in entries}
    missing = {
        text
        for text in _sentences_of(module) - known
        if not any(part in text for part in NOT_IN_A_PAGE)
    }
    assert missing == set()


def test_words_of_pictures_are_what_the_program_draws() -> None:
    entries = tomllib.loads((templates_folder() / "ko/pictures.toml").read_text(encoding="utf-8"))
    said = _sentences_of_the_program()
    of = [entry["of"] for entry in entries["told"]]
    assert [text for text in of if re.sub(r"\{\d\}", "{}", text) not in said] == []
    assert len(of) == len(set(of))


def test_pictures_call_parts_what_the_english_page_calls_them() -> None:
    words = tomllib.loads((templates_folder() / "en/words.toml").read_text(encoding="utf-8"))
    assert {part: PART_NAMES.get(part, part) for part in words["parts"]} == words["parts"]
