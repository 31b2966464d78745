"""Prompts as dllama builds them, detection by its markers, stop texts in any cut of a stream."""

from itertools import pairwise

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from dllama_engine.errors import RequestError
from dllama_engine.text.chat_template import (
    ChatFormat,
    ChatTemplate,
    Message,
    StopDetector,
    chat_format,
)
from dllama_engine.text.tokenizer import read_tokenizer
from tests.data import MODELS as GOLDEN

TURNS = [
    Message("system", "Be brief."),
    Message("user", "Hi"),
    Message("assistant", "Hello."),
    Message("user", "Bye"),
]


@pytest.mark.parametrize(
    ("name", "prompt"),
    [
        (
            "llama2",
            "[INST] <<SYS>>\nBe brief.\n<</SYS>>\n\nHi [/INST]</s>Hello.</s>[INST] Bye [/INST]</s>",
        ),
        (
            "llama3",
            "<|start_header_id|>system<|end_header_id|>\n\nBe brief.</s>"
            "<|start_header_id|>user<|end_header_id|>\n\nHi</s>"
            "<|start_header_id|>assistant<|end_header_id|>\n\nHello.</s>"
            "<|start_header_id|>user<|end_header_id|>\n\nBye</s>"
            "<|start_header_id|>assistant<|end_header_id|>\n\n",
        ),
        (
            "deepSeek3",
            "Be brief.<｜User｜>Hi<｜Assistant｜>Hello.<｜User｜>Bye<｜Assistant｜><think>\n",
        ),
        (
            "chatml",
            "<|im_start|>system\nBe brief.<|im_end|>\n<|im_start|>user\nHi<|im_end|>\n"
            "<|im_start|>assistant\nHello.<|im_end|>\n<|im_start|>user\nBye<|im_end|>\n"
            "<|im_start|>assistant\n",
        ),
    ],
)
def test_prompts_are_dllamas(name, prompt):
    assert chat_format(name, None, "</s>").format(TURNS) == prompt


def test_without_a_system_turn_and_without_an_opening():
    turn = [Message("user", "{Hi}")]
    assert chat_format("llama2", None, "</s>").format(turn) == "[INST] {Hi} [/INST]</s>"
    assert (
        chat_format("deepSeek3", None, "").format(turn, generation_prompt=False) == "<｜User｜>{Hi}"
    )
    llama3 = chat_format("llama3", None, "|").format(turn, generation_prompt=False)
    assert llama3 == "<|start_header_id|>user<|end_header_id|>\n\n{Hi}|"


def test_only_deep_seek_shows_the_start_of_its_thoughts():
    assert ChatFormat(ChatTemplate.DEEP_SEEK3, "").public_prompt == "<think>\n"
    assert ChatFormat(ChatTemplate.LLAMA3, "").public_prompt == ""


@pytest.mark.parametrize(
    ("source", "template"),
    [
        ("{{ bos }}[INST] {{ m }} [/INST]", ChatTemplate.LLAMA2),
        ("<|start_header_id|>{{ role }}", ChatTemplate.LLAMA3),
        ("{{ '<｜Assistant｜>' }}", ChatTemplate.DEEP_SEEK3),
        ("<|im_start|>{{ role }}", ChatTemplate.CHATML),
        ("<|im_start|> [INST]", ChatTemplate.LLAMA2),  # dllama looks for [INST] first
    ],
)
def test_templates_are_recognised_by_their_markers(source, template):
    assert ChatTemplate.detect(source) is template


def test_the_golden_tokenizer_is_llama3s_and_a_name_wins_over_it():
    source = read_tokenizer(GOLDEN / "golden.t").vocab.chat_template
    assert chat_format(None, source, "").template is ChatTemplate.LLAMA3
    assert chat_format("deepSeek3", source, "").template is ChatTemplate.DEEP_SEEK3


@pytest.mark.parametrize(
    ("name", "source", "words"),
    [
        (
            None,
            None,
            "holds no chat template; give --chat-template, one of llama2, llama3, deepSeek3",
        ),
        (None, "", "holds no chat template"),
        (None, "{{ x }}" * 30, "is not one that is known; give --chat-template"),
        ("alpaca", "[INST]", "unknown chat template 'alpaca'; --chat-template takes one of llama2"),
    ],
)
def test_unknown_templates_name_the_option(name, source, words):
    with pytest.raises(RequestError, match=words):
        chat_format(name, source, "")


def stream(stops, parts):
    detector, shown = StopDetector(stops), []
    for part in parts:
        text, stopped = detector.push(part)
        shown.append(text)
        if stopped:
            return "".join(shown), True
    return "".join(shown) + detector.flush(), False


@settings(deadline=None)
@given(st.text(alphabet="ab<>", max_size=30), st.lists(st.integers(0, 30), max_size=6))
def test_a_stop_text_ends_the_stream_however_it_is_cut(text, cuts):
    edges = [0, *sorted(min(cut, len(text)) for cut in cuts), len(text)]
    parts = [text[a:b] for a, b in pairwise(edges)]
    at = text.find("<a>")
    assert stream(["<a>", ""], parts) == ((text, False) if at < 0 else (text[:at], True))


def test_only_what_may_become_a_stop_is_held_back():
    detector = StopDetector(["</s>", "<|end|>"])
    assert detector.push("one <") == ("one ", False)
    assert detector.push("b> two</") == ("<b> two", False)
    assert detector.push("s> three") == ("", True)
    assert stream([], ["a", "b"]) == ("ab", False)
