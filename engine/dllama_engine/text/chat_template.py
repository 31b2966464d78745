"""Chat templates that dllama knows: messages -> prompt text, and the stop texts of a stream.

A template is chosen by name or recognised in the tokenizer file's own (Jinja) template. Knows
nothing about tokens and sampling.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from enum import StrEnum
from typing import NamedTuple

from dllama_engine.errors import RequestError


class Message(NamedTuple):
    """One turn of a conversation."""

    role: str
    content: str


class ChatTemplate(StrEnum):
    """The names that `--chat-template` takes."""

    LLAMA2 = "llama2"
    LLAMA3 = "llama3"
    DEEP_SEEK3 = "deepSeek3"
    CHATML = "chatml"

    @classmethod
    def parse(cls, name: str) -> ChatTemplate:
        """The template of this name; `RequestError` lists the known ones."""
        try:
            return cls(name)
        except ValueError:
            raise RequestError(
                f"unknown chat template {name!r}; --chat-template takes one of {_known()}"
            ) from None

    @classmethod
    def detect(cls, source: str | None) -> ChatTemplate:
        """The template that a tokenizer file's own is, by the markers dllama looks for.

        Raises:
            RequestError: the file has none, or one of another kind.
        """
        if not source:
            raise RequestError(
                "the tokenizer file holds no chat template; "
                f"give --chat-template, one of {_known()}"
            )
        for marker, template in _MARKERS.items():
            if marker in source:
                return template
        raise RequestError(
            f"the tokenizer file's chat template {_shortened(source)!r} is not one that is known; "
            f"give --chat-template, one of {_known()}"
        )


# In dllama's order: the first marker that the file's template contains decides.
_MARKERS = {
    "[INST]": ChatTemplate.LLAMA2,
    "<|start_header_id|>": ChatTemplate.LLAMA3,
    "<｜Assistant｜>": ChatTemplate.DEEP_SEEK3,
    "<|im_start|>": ChatTemplate.CHATML,
}


@dataclass(frozen=True, slots=True)
class ChatFormat:
    """A template and the end-of-turn text of one tokenizer, its first eos token."""

    template: ChatTemplate
    eos: str

    def format(self, messages: Sequence[Message], *, generation_prompt: bool = True) -> str:
        """The prompt for these turns, opened for the assistant's answer."""
        return _FORMATTERS[self.template](messages, self.eos, generation_prompt)

    @property
    def public_prompt(self) -> str:
        """The part of the prompt that belongs to the answer and is shown with it."""
        return "<think>\n" if self.template is ChatTemplate.DEEP_SEEK3 else ""


class StopDetector:
    """Ends a stream of text at a stop text, and holds back what may become one."""

    def __init__(self, stops: Sequence[str]) -> None:
        self._stops = [stop for stop in stops if stop]
        self._held = ""

    def push(self, text: str) -> tuple[str, bool]:
        """The text that can be shown now, and whether a stop text has been reached."""
        self._held += text
        ends = [at for at in map(self._held.find, self._stops) if at >= 0]
        if ends:
            shown, self._held = self._held[: min(ends)], ""
            return shown, True
        n_shown = len(self._held) - max(map(self._overlap, self._stops), default=0)
        shown, self._held = self._held[:n_shown], self._held[n_shown:]
        return shown, False

    def flush(self) -> str:
        """What is still held back when the stream ends otherwise."""
        shown, self._held = self._held, ""
        return shown

    def _overlap(self, stop: str) -> int:
        """Length of the longest end of the held text that begins `stop`."""
        longest = min(len(stop) - 1, len(self._held))
        return next((n for n in range(longest, 0, -1) if self._held.endswith(stop[:n])), 0)


def _format_llama2(messages: Sequence[Message], eos: str, generation_prompt: bool) -> str:
    turns = []
    rest = list(messages)
    if [message.role for message in rest[:2]] == ["system", "user"]:
        system, user = rest[0].content, rest[1].content
        turns.append(f"[INST] <<SYS>>\n{system}\n<</SYS>>\n\n{user} [/INST]{eos}")
        rest = rest[2:]
    forms = {"assistant": "{}{}", "user": "[INST] {} [/INST]{}"}
    turns += [forms[role].format(content, eos) for role, content in rest if role in forms]
    return "".join(turns)


def _format_llama3(messages: Sequence[Message], eos: str, generation_prompt: bool) -> str:
    turns = [
        f"<|start_header_id|>{role}<|end_header_id|>\n\n{content}{eos}"
        for role, content in messages
    ]
    opening = "<|start_header_id|>assistant<|end_header_id|>\n\n" if generation_prompt else ""
    return "".join(turns) + opening


def _format_deep_seek3(messages: Sequence[Message], eos: str, generation_prompt: bool) -> str:
    marks = {"user": "<｜User｜>", "assistant": "<｜Assistant｜>"}
    system = "".join(content for role, content in messages[:1] if role == "system")
    turns = [marks[role] + content for role, content in messages if role in marks]
    return system + "".join(turns) + ("<｜Assistant｜><think>\n" if generation_prompt else "")


def _format_chatml(messages: Sequence[Message], eos: str, generation_prompt: bool) -> str:
    turns = [f"<|im_start|>{role}\n{content}<|im_end|>\n" for role, content in messages]
    return "".join(turns) + ("<|im_start|>assistant\n" if generation_prompt else "")


_FORMATTERS: dict[ChatTemplate, Callable[[Sequence[Message], str, bool], str]] = {
    ChatTemplate.LLAMA2: _format_llama2,
    ChatTemplate.LLAMA3: _format_llama3,
    ChatTemplate.DEEP_SEEK3: _format_deep_seek3,
    ChatTemplate.CHATML: _format_chatml,
}


def chat_format(name: str | None, source: str | None, eos: str) -> ChatFormat:
    """The format by `--chat-template` when given, else by the tokenizer file's template."""
    template = ChatTemplate.parse(name) if name else ChatTemplate.detect(source)
    return ChatFormat(template, eos)


def _known() -> str:
    return ", ".join(template.value for template in ChatTemplate)


def _shortened(source: str, limit: int = 60) -> str:
    return source if len(source) <= limit else source[: limit - 3] + "..."
