"""One command makes the shipped model: stories -> tokenizer -> training -> export -> card."""

from __future__ import annotations

import argparse
from collections.abc import Iterable, Iterator
from dataclasses import asdict
from pathlib import Path

import torch

from dllama_engine.formats.quants import FloatType
from dllama_engine.text.tokenizer import read_tokenizer
from training import evaluation, measure, world
from training.card import CardFacts, Consistency, FileFacts, Perplexities, Sample, render
from training.corpus import BOS, EOS, Corpus, make_corpus, pack
from training.export import Weights, export_model, export_tokenizer
from training.llama import Llama
from training.optimize import Recipe, Run
from training.shape import ModelShape
from training.stories import WORD, vocabulary

MODELS = Path(__file__).parent.parent / "engine" / "dllama_engine" / "models"
PROMPTS = ("One morning, Mina", "One evening, Tom", "Every day, Lily", "Once upon a time, Leo")
SAMPLE_TOKENS = 256
FINAL_LOSS_STEPS = 50


def main(argv: list[str] | None = None) -> None:
    """Make the model that ships with the project."""
    options = _parser().parse_args(argv)
    recipe = Recipe(seed=options.seed, steps=options.steps, n_threads=options.threads)
    corpus = make_corpus(options.seed, options.stories, options.held_out)
    print(f"{len(corpus.training)} stories, {len(corpus.vocabulary.tokens)} regular tokens")
    run = _trained(recipe, corpus, options.work_dir)
    weights = _weights(run.model)
    options.output.mkdir(parents=True, exist_ok=True)
    model_path, tokenizer_path = options.output / "tiny.m", options.output / "tiny.t"
    export_model(model_path, weights, run.model.shape, FloatType.Q40)
    export_tokenizer(tokenizer_path, corpus.vocabulary)
    files = (model_path, tokenizer_path)
    card = render(_facts(_command(options), run, corpus, files, options.work_dir))
    (options.output / "tiny.md").write_text(card, encoding="utf-8")
    print(f"wrote {model_path}, {tokenizer_path} and the card")


def _command(options: argparse.Namespace) -> str:
    """The command that makes the same files, with the flags that decide them."""
    defaults = vars(_parser().parse_args([]))
    flags = {
        name: value
        for name, value in vars(options).items()
        if name not in ("work_dir", "output") and value != defaults[name]
    }
    words = [f" --{name.replace('_', '-')} {value}" for name, value in flags.items()]
    return "python -m training.train" + "".join(words)


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        prog="python -m training.train",
        description=main.__doc__,
        formatter_class=argparse.ArgumentDefaultsHelpFormatter,
    )
    parser.add_argument("--seed", type=int, default=1, help="of the stories and of the weights")
    parser.add_argument("--steps", type=int, default=Recipe().steps, help="optimizer steps")
    parser.add_argument("--stories", type=int, default=20000, help="to train on")
    parser.add_argument("--held-out", type=int, default=200, help="stories to measure with")
    parser.add_argument("--threads", type=int, default=Recipe().n_threads, help="of PyTorch")
    parser.add_argument(
        "--work-dir", type=Path, default=Path("build/training"), help="for checkpoints; resumes"
    )
    parser.add_argument("--output", type=Path, default=MODELS, help="folder of the files")
    return parser


def _trained(recipe: Recipe, corpus: Corpus, work_dir: Path) -> Run:
    """Train, or go on where an earlier run with the same recipe stopped."""
    shape = ModelShape()
    rows = pack(corpus.training, corpus.vocabulary, shape.seq_len + 1)
    work_dir.mkdir(parents=True, exist_ok=True)
    run = Run(recipe, shape, rows, work_dir / "checkpoint.pt")
    run.resume()
    run.train(lambda line: print(line, flush=True))
    return run


def _weights(model: Llama) -> Weights:
    return {name: value.detach().numpy() for name, value in model.named_parameters()}


def _facts(
    command: str, run: Run, corpus: Corpus, files: tuple[Path, Path], work_dir: Path
) -> CardFacts:
    """Measure everything the card states."""
    losses, shape = run.progress.losses, run.model.shape
    last = losses[-FINAL_LOSS_STEPS:]
    return CardFacts(
        command=command,
        torch=torch.__version__.split("+")[0],
        recipe=asdict(run.recipe),
        shape=asdict(shape) | {"head_dim": shape.head_dim},
        n_parameters=sum(p.numel() for p in run.model.parameters()),
        n_training_stories=len(corpus.training),
        n_held_out_stories=len(corpus.held_out),
        n_words=len(vocabulary()),
        n_training_tokens=run.recipe.steps * run.recipe.batch_rows * shape.seq_len,
        training_s=round(run.progress.elapsed_s, 1),
        final_loss=sum(last) / len(last),
        perplexities=_perplexities(run, corpus, files[0], work_dir),
        consistency=_consistency(*files),
        samples=tuple(_continue(*files, PROMPTS)),
        files=tuple(FileFacts.of(path) for path in files),
    )


def _perplexities(
    run: Run, corpus: Corpus, model_path: Path, work_dir: Path
) -> tuple[Perplexities, ...]:
    """The same stories by the engine, from files, and by PyTorch, from the checkpoint."""
    texts = [[BOS, *corpus.vocabulary.encode(text)] for text in corpus.held_out]
    f32_path = work_dir / "f32.m"
    export_model(f32_path, _weights(run.model), run.model.shape, FloatType.F32)
    by_engine = [
        measure.perplexity(measure.OneNode(path, buffers), texts)
        for path, buffers in ((f32_path, FloatType.F32), (model_path, FloatType.Q80))
    ]
    by_torch = []
    for quantized in (False, True):
        run.model.set_quantized(weights=quantized, buffers=quantized)
        by_torch.append(evaluation.perplexity(run.model, texts))
    counts = (len(texts), sum(len(ids) - 1 for ids in texts))
    return (
        Perplexities("this project's engine, one node", *counts, *by_engine),
        Perplexities("PyTorch, rounding as dllama does", *counts, *by_torch),
    )


def _continue(model_path: Path, tokenizer_path: Path, prompts: Iterable[str]) -> Iterator[Sample]:
    """Greedy continuations by the exported files; one that does not end has `SAMPLE_TOKENS`."""
    node, tokenizer = measure.OneNode(model_path, FloatType.Q80), read_tokenizer(tokenizer_path)
    for prompt in prompts:
        ids = node.greedy(tokenizer.encode(prompt), SAMPLE_TOKENS, EOS)
        yield Sample(prompt, tokenizer.decode(ids).decode(), ended=len(ids) < SAMPLE_TOKENS)


def _consistency(model_path: Path, tokenizer_path: Path) -> Consistency:
    prompts = [f"One morning, {name}" for name in world.PEOPLE]
    samples = list(_continue(model_path, tokenizer_path, prompts))
    words = [set(WORD.findall(sample.prompt + sample.continuation)) for sample in samples]
    return Consistency(
        n_stories=len(samples),
        n_ended=sum(sample.ended for sample in samples),
        n_in_vocabulary=sum(story <= vocabulary() for story in words),
        n_same_people=sum(len(story & set(world.PEOPLE)) == 2 for story in words),
    )


if __name__ == "__main__":
    main()
