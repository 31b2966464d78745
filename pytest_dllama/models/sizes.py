"""How large the request of a cell is: its prompt, its steps, and the positions of the KV cache.

One place for the rules that tokens, steps and context set each other, so that what is checked
before a run starts is what the run asks of the engine.
"""

from __future__ import annotations

from dataclasses import dataclass

from pytest_dllama.config.settings import LabConfig
from pytest_dllama.config.values import ConfigError
from pytest_dllama.models.engine_facts import ModelConfig, Tokenizer
from pytest_dllama.models.prompts import exact_prompt
from pytest_dllama.record.cell import Workload


@dataclass(frozen=True, slots=True)
class RequestSize:
    """What one request asks for.

    Attributes:
        prompt: its text.
        prompt_tokens: what the tokenizer makes of it.
        steps: position at which it ends, as dllama counts: from its own first token.
        context_depth: positions that are filled before its clock starts.
        max_seq_len: positions of the KV cache.
        note: what a reader must know, where less is run than was asked for.
    """

    prompt: str
    prompt_tokens: int
    steps: int
    context_depth: int
    max_seq_len: int
    note: str | None = None

    @property
    def output_tokens(self) -> int:
        """Tokens that it generates: the prompt's last one gives the first of them."""
        return self.steps - self.prompt_tokens + 1


def request_size(
    config: LabConfig, workload: Workload, model: ModelConfig, tokenizer: Tokenizer
) -> RequestSize:
    """The size of a cell's request on one model.

    Args:
        config: with the workload's options in place.
        workload: the cell's.
        model: its context is the most that there can be.
        tokenizer: the model's.

    Raises:
        ConfigError: a prompt, steps and a context that do not go together, with what does.
        EngineError: a prompt that the tokenizer cannot encode.
    """
    what, prompt = "--prompt", config.prompt
    if workload.prompt_tokens is not None:
        what, prompt = (
            "the prompt of --prompt-tokens",
            exact_prompt(tokenizer, workload.prompt_tokens),
        )
    n_prompt = len(tokenizer.encode(prompt))
    depth = workload.context_depth or 0
    limit = min(config.max_seq_len or model.seq_len, model.seq_len)
    context = _context(config, model)
    _check_prompt(what, n_prompt, depth, limit, context)
    if workload.output_tokens is None:
        return _by_steps(config, what, prompt, n_prompt, depth, limit, context)
    steps = n_prompt - 1 + workload.output_tokens
    if depth + steps > limit:
        most = limit - depth - n_prompt + 1
        raise ConfigError(
            f"--output-tokens {workload.output_tokens}: after {_before(n_prompt, depth)} they end "
            f"at position {depth + steps}, and {context}; use at most {most}"
        )
    return RequestSize(prompt, n_prompt, steps, depth, _cache(config, limit, depth + steps))


def _by_steps(
    config: LabConfig, what: str, prompt: str, n_prompt: int, depth: int, limit: int, context: str
) -> RequestSize:
    if n_prompt > config.steps:
        more = f"--steps {n_prompt + 1} or more, " if depth + n_prompt < limit else ""
        raise ConfigError(
            f"{what} has {n_prompt} tokens and --steps is {config.steps}: steps count the prompt "
            f"too, so nothing would be generated; use {more}--output-tokens N in place of --steps, "
            "or a shorter prompt"
        )
    steps = min(config.steps, limit - depth)
    note = None
    if steps < config.steps:
        at = f" from position {depth} on" if depth else ""
        note = f"--steps {config.steps}: {context}, so that {steps} steps were run{at}"
    return RequestSize(prompt, n_prompt, steps, depth, _cache(config, limit, depth + steps), note)


def _cache(config: LabConfig, limit: int, needed: int) -> int:
    """Positions of the cache: what was asked for, else what the request fills."""
    return limit if config.max_seq_len else needed


def _check_prompt(what: str, n_prompt: int, depth: int, limit: int, context: str) -> None:
    if n_prompt < 1:
        raise ConfigError(f"{what} has no tokens; give one with some text")
    if depth + n_prompt > limit:
        before = f"--context-depth fills {depth} positions, " if depth else ""
        remedies = ["a smaller depth"] if depth else []
        remedies += ["a larger --max-seq-len"] if context.startswith("--") else []
        remedy = " or ".join([*remedies, "a shorter prompt"])
        raise ConfigError(f"{before}{what} has {n_prompt} tokens, and {context}; use {remedy}")


def _before(n_prompt: int, depth: int) -> str:
    filled = f"{depth} filled positions and " if depth else ""
    return f"{filled}a prompt of {n_prompt} tokens"


def _context(config: LabConfig, model: ModelConfig) -> str:
    if 0 < config.max_seq_len < model.seq_len:
        return (
            f"--max-seq-len {config.max_seq_len} sets the context (the model's has {model.seq_len})"
        )
    return f"the model's context holds {model.seq_len}"
