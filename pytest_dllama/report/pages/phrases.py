"""Values in the words of one language: the filters of the templates, all of ready Markdown."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterable, Mapping, Sequence
from typing import Any

from markupsafe import Markup

from pytest_dllama.report.figures.quantities import Quantity
from pytest_dllama.report.sentences.hosts import HostProblem
from pytest_dllama.report.tables.columns import metric_value, with_unit
from pytest_dllama.report.text import korean, markdown, numbers
from pytest_dllama.report.text.told import Told, translated


class Phrases:
    """Numbers, lists and names as one language says them.

    Args:
        words: its word list.
        told: translations of sentences that run files hold in English.
    """

    def __init__(self, words: Mapping[str, Any], told: Sequence[Told] = ()) -> None:
        self.words = words
        self._told = told

    def filters(self) -> dict[str, Callable[..., object]]:
        """Filters of the templates; all return ready Markdown."""
        return {
            "hashes": lambda level: Markup("#" * level),
            "code": lambda text: markdown.code(text),
            "josa": self._josa,
            "listing": self._listing,
            "numbers": lambda values: self.join(str(value) for value in values),
            "nodes": self.nodes,
            "plural": _plural,
            "value": lambda value, quantity: Markup(with_unit(value, quantity)),
            "metric": lambda value, name: Markup(metric_value(name, value)),
            "advantage": self._advantage,
            "percent": lambda value: Markup(numbers.percent(value)),
            "magnitude": lambda value: Markup(numbers.percent(abs(value)).lstrip("+")),
            "share": lambda value: Markup(numbers.share(value)),
            "short": lambda value: Markup(numbers.short(value)),
            "factor": lambda value: Markup(numbers.factor(value)),
            "size": lambda value: Markup(numbers.size(value)),
            "count": lambda value: Markup(numbers.count(value)),
            "plain": lambda value, decimals: Markup(numbers.plain(value, decimals)),
            "signed": lambda value, decimals: Markup(numbers.signed(value, decimals)),
            "significant": _significant,
            "digits": lambda value: Markup(numbers.three_digits(value)),
            "filled": filled,
            "flags": lambda flags: Markup(self.flags(flags)),
            "host_problem": self._host_problem,
            "part": self._part,
            "ready": Markup,
            "told": self.told,
            "all_told": lambda texts: [self.told(text) for text in texts],
            "shift": self._shift,
            "counted": self._counted,
            "one_by_one": lambda texts: Markup("; ").join(map(markdown.escape, texts)),
        }

    def _counted(self, items: Iterable[tuple[int, str]], phrase: str) -> Markup:
        """How many of each kind there are; of kinds that there are none nothing is said."""
        known = [(numbers.count(n), what) for n, what in items if n]
        return Markup(", ".join(phrase.replace("{n}", n).replace("{what}", w) for n, w in known))

    def _josa(self, text: str, pair: str) -> Markup:
        shown = text if isinstance(text, Markup) else markdown.escape(str(text))
        return Markup(f"{shown}{korean.particle(str(text), pair)}")

    def _listing(self, texts: Iterable[str]) -> Markup:
        return self.join(
            text if isinstance(text, Markup) else markdown.escape(text) for text in texts
        )

    def nodes(self, values: int | Iterable[int]) -> Markup:
        """Node counts with their noun, for use inside a sentence."""
        counts = [values] if isinstance(values, int) else list(values)
        phrase = "nodes_one" if counts == [1] else "nodes"
        return Markup(self.phrase(phrase, n=self.join(map(str, counts))))

    def join(self, texts: Iterable[str]) -> Markup:
        """A list in a sentence: `a, b and c`."""
        *first, last = list(texts) or [numbers.MISSING]
        joined = ", ".join(first)
        return Markup(f"{joined}{self.phrase('last_of_list')}{last}" if first else last)

    def flags(self, flags: Iterable[str]) -> str:
        """Throttling flags in words; one that nobody knows as it is."""
        known: Mapping[str, str] = self.words["throttled"]
        return ", ".join(str(markdown.escape(known.get(flag, flag))) for flag in flags)

    def _host_problem(self, problem: HostProblem) -> Markup:
        """What is wrong with a host, with its remedy."""
        values: dict[str, object] = dict(problem.values)
        if isinstance(flags := values.get("flags"), str):
            values["flags"] = Markup(self.flags(flags.split(", ")))
        return filled(self.words["host_problems"][problem.kind], **values)

    def _shift(self, change: float) -> Markup:
        """How much slower or faster something became, 0.31 being 31 % slower."""
        phrase = "slower" if change > 0 else "faster"
        return Markup(self.phrase(phrase, x=numbers.share(abs(change))))

    def told(self, text: str) -> str:
        """A sentence of the program in this language, if it is one that has been translated."""
        return translated(text, self._told) if self._told else text

    def _part(self, part: str) -> Markup:
        """A part of a token's time in words; one that nobody knows as it is."""
        return Markup(self.words["parts"].get(part) or markdown.escape(part))

    def phrase(self, key: str, **values: str) -> str:
        """A phrase of the word list with its values in place."""
        text: str = self.words["phrases"][key]
        for name, value in values.items():
            text = text.replace(f"{{{name}}}", value)
        return text

    def _advantage(self, low: float, high: float, quantity: Quantity) -> Markup:
        """How far one is ahead of the other, from `low` to `high`."""
        small = quantity.as_factor and low < 1.1  # "3.2 %" reads better than "1.03 times"
        if quantity.as_factor and not small:
            ends, phrase = [numbers.factor(low), numbers.factor(high)], "times"
        else:
            percents = [(low - 1) * 100, (high - 1) * 100] if small else [low, high]
            ends = [numbers.number(p, 1) for p in percents]
            phrase = "points" if quantity.unit == "share" else "percents"
        text = ends[0] if ends[0] == ends[1] else f"{ends[0]}{self.phrase('to')}{ends[1]}"
        return Markup(self.phrase(phrase, x=text))


def _plural(n: int, noun: str, many: str = "") -> Markup:
    """`1 cell`, `2 cells`."""
    return Markup(f"{numbers.count(n)} {noun if n == 1 else many or noun + 's'}")


def filled(template: str, **values: object) -> Markup:
    """`template` with each `{name}` replaced by its escaped value."""
    text = str(template)
    for name, value in values.items():
        shown = value if isinstance(value, Markup) else markdown.escape(str(value))
        text = text.replace(f"{{{name}}}", str(shown))
    return Markup(text)


def _significant(value: float | None) -> Markup:
    if value is None or not math.isfinite(value):
        return Markup(numbers.MISSING)
    return Markup(numbers.plain(value, numbers.decimals_for(value, 3)))
