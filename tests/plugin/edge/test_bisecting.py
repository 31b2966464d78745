"""Under `--bisect` the exit status says to `git bisect run` what is known, however it ends."""

from __future__ import annotations

import pytest

BISECTING = ("-p", "no:cacheprovider", "--bisect", "--baseline", "self", "--nodes", "1")
CANNOT_BE_TESTED, ABORTS = 125, 130
STOPPED = {
    "ctrl-c": "import os, signal\ndef test(): os.kill(os.getpid(), signal.SIGINT)",
    "sigterm": """
import os, signal
from pytest_dllama.edge.signals import install_signal_handlers
def test(request):
    install_signal_handlers(request.config)
    os.kill(os.getpid(), signal.SIGTERM)
""",
}


@pytest.mark.parametrize("source", STOPPED.values(), ids=STOPPED.keys())
def test_a_session_that_is_stopped_ends_the_bisection(
    pytester: pytest.Pytester, source: str
) -> None:
    pytester.makepyfile(source)
    assert pytester.runpytest_inprocess(*BISECTING).ret == ABORTS


def test_tests_that_cannot_be_collected_stop_nothing(pytester: pytest.Pytester) -> None:
    """Pytest calls itself interrupted then, too."""
    pytester.makepyfile("import no_such_module_of_this_revision")
    done = pytester.runpytest_inprocess(*BISECTING)
    done.stdout.fnmatch_lines("*Interrupted: 1 error during collection*")
    assert done.ret == CANNOT_BE_TESTED


@pytest.mark.parametrize(
    "options",
    [
        ("-k", "no_such_test"),
        ("--nodes", "0"),  # found before the session
        ("--models", "no/model.m:no/tok.t"),
    ],
    ids=" ".join,
)
def test_without_a_verdict_a_revision_cannot_be_tested(
    pytester: pytest.Pytester, options: tuple[str, ...]
) -> None:
    pytester.makepyfile("def test_it(cell): pass")
    assert pytester.runpytest_inprocess(*BISECTING, *options).ret == CANNOT_BE_TESTED


@pytest.mark.parametrize("options", [("--collect-only",), ("--baseline", "git:no-such-revision")])
def test_a_session_that_measures_nothing_judges_nothing(
    pytester: pytest.Pytester, options: tuple[str, ...]
) -> None:
    """The second one's error is found once the tests are collected."""
    pytester.makepyfile("def test_it(cell): pass")
    assert pytester.runpytest_inprocess(*BISECTING, *options).ret == CANNOT_BE_TESTED


def test_a_usage_error_is_told_as_ever(pytester: pytest.Pytester) -> None:
    pytester.makepyfile("def test_it(cell): pass")
    for options in (BISECTING, BISECTING[3:]):
        done = pytester.runpytest_inprocess(*options, "--nodes", "0")
        done.stderr.fnmatch_lines("ERROR: --nodes 0: 0 is no cluster*")


def test_without_the_option_the_status_is_pytests(pytester: pytest.Pytester) -> None:
    pytester.makepyfile("def test_it(cell): pass")
    options = ("-p", "no:cacheprovider", "--baseline", "self", "--nodes", "1")
    done = pytester.runpytest_inprocess(*options, "-k", "no_such_test")
    assert done.ret == pytest.ExitCode.NO_TESTS_COLLECTED
    assert pytester.runpytest_inprocess(*options, "--nodes", "0").ret == pytest.ExitCode.USAGE_ERROR
