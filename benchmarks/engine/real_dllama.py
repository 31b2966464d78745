"""The real `dllama`, where DLLAMA_BIN names one, in turns with the engine on the same files."""

from __future__ import annotations

import os
import subprocess
from dataclasses import dataclass
from pathlib import Path

from benchmarks.engine.single import DECODED, PROMPT, Engine
from benchmarks.table import Row
from dllama_engine.text.tokenizer import read_tokenizer
from pytest_dllama.backends.dllama.printed.log import parse_log
from pytest_dllama.backends.dllama.printed.run import PhaseBlock

_TIMEOUT_S = 1800.0


@dataclass(frozen=True, slots=True)
class Speed:
    """Tokens/s, from the ms a token that dllama prints."""

    prefill: float
    decode: float


def dllama_rows(
    model: Path, engine: Engine, binary: str, threads: list[int], rounds: int
) -> list[Row]:
    """Decode and prefill beside dllama's; its processes start anew for every sample."""
    name, rows = model.stem.removeprefix("synthetic-"), []
    for n in threads:
        where = f"{name}, {n} thread{'s' * (n > 1)}"
        decode = Row(f"decode, {where}", "tokens/s", "dllama")
        prefill = Row(f"prefill {PROMPT}, {where}", "tokens/s", "dllama")
        engine.prefill_s(n)  # buffers touched, threads started
        for _ in range(rounds):
            found = run_dllama(binary, model, n)
            decode.yard_samples.append(found.decode)
            prefill.yard_samples.append(found.prefill)
            prefill.samples.append(PROMPT / engine.prefill_s(n))
            decode.samples.append(1 / engine.decode_s(n))
        rows += [decode, prefill]
    return rows


def run_dllama(binary: str, model: Path, n_threads: int) -> Speed:
    """One request on one node.

    Raises:
        RuntimeError: it failed, or printed no speeds.
    """
    tokenizer = model.with_suffix(".t")
    command = [
        *(binary, "inference", "--model", str(model), "--tokenizer", str(tokenizer)),
        *("--prompt", _prompt(tokenizer), "--steps", str(PROMPT + DECODED)),
        *("--nthreads", str(n_threads), "--buffer-float-type", "q80", "--temperature", "0"),
    ]
    done = subprocess.run(
        command, capture_output=True, errors="replace", timeout=_TIMEOUT_S, check=False
    )
    runs = parse_log(done.stdout)
    if done.returncode != 0 or len(runs) != 1:
        raise RuntimeError(
            f"{binary} ended with code {done.returncode} after {len(runs)} requests: "
            f"{(done.stderr or done.stdout)[-400:]}"
        )
    return Speed(_per_s(binary, runs[0].evaluation), _per_s(binary, runs[0].prediction))


def _per_s(binary: str, block: PhaseBlock | None) -> float:
    if block is None or not block.ms_per_token:
        raise RuntimeError(f"{binary} printed no ms/tok; is it a dllama that this parser knows?")
    return 1e3 / block.ms_per_token


def _prompt(tokenizer_file: Path) -> str:
    """A text of PROMPT tokens, or a few more."""
    tokenizer = read_tokenizer(tokenizer_file)
    words = "a"
    while len(tokenizer.encode(words)) < PROMPT:
        words += " a"
    return words


def binary_from_environment() -> str | None:
    """DLLAMA_BIN, an executable file.

    Raises:
        FileNotFoundError: it names none.
    """
    named = os.environ.get("DLLAMA_BIN")
    if not named:
        return None
    if not os.access(named, os.X_OK):
        raise FileNotFoundError(f"DLLAMA_BIN={named} is no program that can be run")
    return str(Path(named).resolve())
