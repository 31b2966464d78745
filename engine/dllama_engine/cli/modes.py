"""The modes inference and perplexity: what a root runs once the cluster is ready."""

from __future__ import annotations

import math
import time
from functools import partial

from dllama_engine.cli import console
from dllama_engine.cli.gc_pause import gc_paused
from dllama_engine.cli.run import RootRun
from dllama_engine.cli.step_log import PERIOD_NS, StepLog
from dllama_engine.errors import RequestError
from dllama_engine.generation.generate import check_request, filling_ids, generate, prefill, score
from dllama_engine.generation.sampler import Sampler
from dllama_engine.generation.steps import Step
from dllama_engine.telemetry.events.request import FinishReason

# Before a request's clock starts: whoever reads the events has read that all is ready, workers have
# forgotten what was rehearsed, and the cores are the ranks' own.
_QUIET_S = 0.005


def inference(run: RootRun) -> None:
    """dllama's inference: one prompt, `--steps` tokens in all, then the summary."""
    args, prompt = run.args, run.text
    assert args.steps is not None  # `options.parse` wants them
    depth = args.context_depth
    seq_len, model_seq_len = run.root.max_seq_len, run.model.config.seq_len
    n_input = len(_input_ids(run))
    check_request(n_input, args.steps, seq_len, depth, model_seq_len=model_seq_len)
    run.start()
    if depth:
        _fill_context(run, depth)
    run.say(prompt)
    seed = seed_of(args.seed)
    sampler = Sampler(run.model.config.vocab_size, args.temperature, args.topp, seed)
    tally = run.new_tally()
    time.sleep(_QUIET_S)
    request_ns = time.perf_counter_ns()
    input_ids = _input_ids(run)
    begin = partial(run.events.request, request_ns, prompt, input_ids, args.steps, seed)
    decoder = run.tokenizer.stream_decoder()
    steps = generate(
        run.root, input_ids, args.steps, args.batch_size, sampler, decoder, depth, args.inject,
        in_a_row=not run.is_watched,
    )  # fmt: skip
    period_ns = 0 if run.is_watched else PERIOD_NS
    with gc_paused(), StepLog(partial(_tell_step, run), period_ns, begin) as log:
        for step in steps:
            tally.add(step)
            log.add(step)
    tally.pieces.append(decoder.flush())
    finish_reason: FinishReason = "steps"
    if depth + args.steps > run.root.max_seq_len:
        finish_reason = "context"
        remedy = ", see --max-seq-len" if seq_len < model_seq_len else ""
        run.say(f"(end of context: {seq_len} tokens{remedy})")
    run.events.done(tally, request_ns, len(input_ids), finish_reason)
    for line in console.summary_lines(tally, args.batch_size, request_ns):
        run.say(line)
    run.finish(tally)


def _input_ids(run: RootRun) -> list[int]:
    """The prompt's, the last of them exchanged where that was asked for."""
    ids, other = run.tokenizer.encode(run.text), run.args.decode_from
    if other is None or not ids:
        return ids
    if other >= (vocab_size := run.model.config.vocab_size):
        raise RequestError(
            f"--decode-from {other}: the model has {vocab_size} tokens; give an id below that"
        )
    return [*ids[:-1], other]


def _tell_step(run: RootRun, step: Step) -> None:
    run.say(step_line(step))
    run.events.step(step)


def _fill_context(run: RootRun, depth: int) -> None:
    """Run `depth` tokens that nobody asked for, before the clock of the request starts."""
    ids = filling_ids(depth, run.tokenizer.vocab.bos_id)
    for step in prefill(run.root, ids, 0, run.args.batch_size):
        run.progress("fill", step.pos + step.n_tokens, depth, "positions")
    run.root.forget_costs()
    run.say(f"📚 Context filled: {depth} positions")


def perplexity(run: RootRun) -> None:
    """Score every token of a text after the first, in batches."""
    args, text = run.args, run.text
    input_ids = run.tokenizer.encode(text)
    _check_text(len(input_ids), run.root.max_seq_len)
    run.start()
    run.say(f"Evaluating {len(input_ids)} tokens...")
    n_scored, total = len(input_ids) - 1, 0.0
    n_done = 0
    tally = run.new_tally()
    request_ns = time.perf_counter_ns()
    run.events.request(request_ns, text, input_ids, len(input_ids), seed_of(args.seed))
    for step, log_probs in score(run.root, input_ids, args.batch_size):
        tally.add(step)
        run.events.step(step)
        total += float(log_probs.sum())
        for log_prob in log_probs:
            n_done += 1
            run.say(console.perplexity_line(n_done, n_scored, math.exp(log_prob)))
    run.events.done(tally, request_ns, len(input_ids), "steps", total)
    for line in console.perplexity_summary(total, n_scored):
        run.say(line)
    run.finish(tally)


def step_line(step: Step) -> str:
    """dllama's line of a step; its bytes are payload and framing of the root's links."""
    cost = step.cost
    sent_bytes, recv_bytes = cost.sent_bytes, cost.recv_bytes
    if step.phase == "prefill":
        return console.eval_line(
            cost.compute_ns, cost.sync_ns, sent_bytes, recv_bytes, step.n_tokens
        )
    return console.pred_line(cost.compute_ns, cost.sync_ns, sent_bytes, recv_bytes, step.piece)


def seed_of(seed: int | None) -> int:
    """The seed that was given, else one from the clock, as in dllama."""
    return int(time.time()) if seed is None else seed


def _check_text(n_tokens: int, seq_len: int) -> None:
    if n_tokens < 2:
        raise RequestError(f"the text has {n_tokens} tokens; 2 or more can be scored")
    if n_tokens > seq_len:
        raise RequestError(
            f"the text has {n_tokens} tokens, the context holds {seq_len}; shorten the text"
        )
