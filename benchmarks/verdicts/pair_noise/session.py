"""`python -m benchmarks.verdicts.pair_noise.session`: a session whose request is repeated.

Takes the command line of `dllama-py inference` behind the number of requests, and prints a line of
JSON a request: TTFT and the gaps between tokens. The first is what suites measure; the others are
the same request in a process whose memory, sockets and code are warm.
"""

from __future__ import annotations

import json
import sys
import time
from itertools import pairwise

from dllama_engine.cli.flags import parsing
from dllama_engine.cli.flags.arguments import RootArgs
from dllama_engine.cli.gc_pause import gc_paused
from dllama_engine.cli.run import RootRun
from dllama_engine.generation.generate import generate
from dllama_engine.generation.sampler import Sampler
from dllama_engine.system import process
from dllama_engine.telemetry.event_writer import EventWriter


def main() -> int:
    """Run the requests."""
    process.prepare()
    args = parsing.parse(sys.argv[2:])
    assert isinstance(args, RootArgs)
    if args.exit_with_parent != -1:
        process.exit_with_parent(args.exit_with_parent)
    run = RootRun.open(args, EventWriter.open(None), lambda text: None)
    try:
        run.start()
        for _ in range(int(sys.argv[1])):
            print(json.dumps(_request(run)), flush=True)
        run.finish(run.new_tally())
    finally:
        run.close()
    return 0


def _request(run: RootRun) -> dict[str, object]:
    """The request from position 0 on: what was in the cache is written over."""
    args = run.args
    assert args.steps is not None
    sampler = Sampler(run.model.config.vocab_size, args.temperature, args.topp, 1)
    start_ns = time.perf_counter_ns()
    input_ids = run.tokenizer.encode(run.text)
    decoder = run.tokenizer.stream_decoder()
    steps = generate(
        run.root, input_ids, args.steps, args.batch_size, sampler, decoder, in_a_row=True
    )
    with gc_paused():
        ends_ns = [step.end_ns for step in steps if step.token_id is not None]
    return {
        "ttft_s": (ends_ns[0] - start_ns) / 1e9,
        "itl_ms": [(after - before) / 1e6 for before, after in pairwise(ends_ns)],
    }


if __name__ == "__main__":
    sys.exit(main())
