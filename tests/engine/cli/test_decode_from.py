"""A first token that is decoded from another one than the prompt's last."""

from __future__ import annotations

from pathlib import Path

from tests.engine.processes import inference_arguments, read_events, run

MINA = 459  # the last token of "One morning, Mina"


def test_the_text_is_that_of_the_exchanged_prompt(tmp_path: Path) -> None:
    tiny = ("inference", "--model", "tiny", "--temperature", 0, "--steps", 12)
    texts: list[str] = []
    for prompt, more in (("One morning, Mina", ()), ("One morning, the", ("--decode-from", MINA))):
        path = tmp_path / f"{len(texts)}.jsonl"
        done = run(*tiny, "--prompt", prompt, "--events", path, *more)
        assert done.returncode == 0, done.stderr
        events = {event["event"]: event for event in read_events(path)}
        assert events["request"]["input_ids"][-1] == MINA
        texts.append(events["done"]["text"])
    assert texts[0] == texts[1]
    assert texts[0]


def test_an_id_that_the_model_lacks_is_refused() -> None:
    done = run(*inference_arguments(), "--decode-from", 1024)
    assert done.returncode == 1
    assert "--decode-from 1024: the model has 512 tokens; give an id below" in done.stderr


def test_other_modes_refuse_it() -> None:
    done = run("perplexity", "--model", "tiny", "--prompt", "One day", "--decode-from", 1)
    assert done.returncode == 2
    assert "--decode-from is inference's; perplexity reads its text as it is" in done.stderr
