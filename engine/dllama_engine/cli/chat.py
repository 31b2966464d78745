"""dllama's chat: turns typed by a user, answers streamed; the history stays in the KV cache."""

from __future__ import annotations

import sys
import time

from dllama_engine.cli.modes import seed_of
from dllama_engine.cli.run import RootRun
from dllama_engine.cli.typed_lines import TypedLines
from dllama_engine.generation.generate import decode, prefill
from dllama_engine.generation.sampler import Sampler
from dllama_engine.generation.steps import Tally
from dllama_engine.telemetry.events.request import FinishReason
from dllama_engine.text.chat_template import ChatFormat, Message, StopDetector, chat_format


def chat(run: RootRun) -> None:
    """Talk until the input ends or the context is full."""
    vocab = run.tokenizer.vocab
    eos = vocab.tokens[vocab.eos_ids[0]].decode("utf-8", "replace") if vocab.eos_ids else ""
    style = chat_format(run.args.chat_template, vocab.chat_template, eos)
    run.start()
    conversation = Conversation(run, style, eos)
    typed = TypedLines(None if sys.stdin is None else sys.stdin.fileno(), run.root.idle_until)
    system = _ask(run, typed, "💻 System prompt (optional): ")
    pending = [Message("system", system)] if system else []
    while system is not None and not conversation.is_full:
        user = _ask(run, typed, "\n👱 User\n> ")
        if user is None:
            break
        if user:
            conversation.answer([*pending, Message("user", user)])
            pending = []
    if conversation.is_full:
        run.say("(end of context)")
    run.finish(conversation.tally)


class Conversation:
    """What has been said so far, as a position in the model's context."""

    def __init__(self, run: RootRun, style: ChatFormat, eos: str) -> None:
        args = run.args
        self.tally = run.new_tally()
        self._run, self._style, self._eos = run, style, eos
        self._pos = 0
        self._unread: list[int] = []  # the last token of an answer, not yet run through the model
        self._seed = seed_of(args.seed)
        self._sampler = Sampler(
            run.model.config.vocab_size, args.temperature, args.topp, self._seed
        )

    @property
    def is_full(self) -> bool:
        """Whether the context can take no further token."""
        return self._pos >= self._run.root.max_seq_len

    def answer(self, messages: list[Message]) -> None:
        """Run one turn, printing the answer as it comes."""
        run, root = self._run, self._run.root
        request_ns = time.perf_counter_ns()
        prompt = self._style.format(messages)
        ids = self._unread + run.tokenizer.encode(prompt, add_bos=None if self._pos == 0 else False)
        ids = ids[: root.max_seq_len - self._pos]
        run.events.request(request_ns, prompt, ids, root.max_seq_len, self._seed)
        tally = run.new_tally()
        for step in prefill(root, ids[:-1], self._pos, run.args.batch_size):
            tally.add(step)
            run.events.step(step)
        self._pos += len(ids) - 1
        run.show(f"\n🤖 Assistant\n{self._style.public_prompt}")
        reason = self._stream(ids[-1], tally)
        run.show("\n")
        run.events.done(tally, request_ns, len(ids), reason)
        self.tally.trace.extend(tally.trace)

    def _stream(self, token_id: int, tally: Tally) -> FinishReason:
        """Decode until the model ends its turn or the context is full."""
        run, eos_ids = self._run, self._run.tokenizer.vocab.eos_ids
        stops = StopDetector([self._eos])
        decoder = run.tokenizer.stream_decoder()
        stop_pos = run.root.max_seq_len
        steps = decode(
            run.root, token_id, self._pos, stop_pos, self._sampler, decoder, eos_ids.__contains__,
            run.args.inject,
        )  # fmt: skip
        for step in steps:
            tally.add(step)
            run.events.step(step)
            self._pos += 1
            assert step.token_id is not None  # a decode step has one
            self._unread = [step.token_id]
            shown, stopped = stops.push(step.piece or "")
            run.show(shown)
            if stopped or step.token_id in eos_ids:
                return "eos"
        run.show(stops.flush() + decoder.flush())
        return "context"


def _ask(run: RootRun, typed: TypedLines, question: str) -> str | None:
    """A line of the user's, None when the input has ended."""
    run.show(question)
    return typed.next()
