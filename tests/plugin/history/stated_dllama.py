"""A dllama whose text is our engine's and whose times are stated: what nights measure is exact.

Outputs are real, so runs are valid; prefill takes 40 ms, each session's steps take up to two
milliseconds more than stated, in a fixed order.
"""

from __future__ import annotations

import sys
from pathlib import Path

_PROGRAM = r"""#!{python}
import pathlib, re, subprocess, sys
counter = pathlib.Path(__file__ + ".count")
n = int(counter.read_text()) if counter.exists() else 0
counter.write_text(str(n + 1))
ms = {pred_ms} + n * 7 % 3
command = [sys.executable, "-m", "dllama_engine.cli", *sys.argv[1:]]
done = subprocess.run(command, stdout=subprocess.PIPE, text=True)
text = done.stdout.partition("Timing\n")[0]
text = re.sub(r"Pred +\d+ ms", f"Pred {{ms}} ms", text)
text = re.sub(r"Eval +\d+ ms", "Eval 40 ms", text)
steps, evaluation, ends = text.partition("Evaluation\n")
ends, prediction, _ = ends.partition("Prediction\n")
n_eval = int(re.search(r"nTokens: (\d+)", ends).group(1)) if ends else 0
n_pred = steps.count("Pred ")
speeds = [(n_eval, 40 / max(n_eval, 1)), (n_pred, ms)]
blocks = [
    f"    nTokens: {{n}}\n   tokens/s: {{1000 / each:.2f}} ({{each:.2f}} ms/tok)\n"
    for n, each in speeds
]
print(steps + "Evaluation\n   nBatches: 32\n" + blocks[0] + "Prediction\n" + blocks[1], end="")
sys.exit(done.returncode)
"""


def stated_dllama(folder: Path, name: str, pred_ms: int) -> Path:
    """A program whose decode steps take so many milliseconds, or one or two more."""
    path = folder / name
    path.write_text(_PROGRAM.format(python=sys.executable, pred_ms=pred_ms), "utf-8")
    path.chmod(0o755)
    return path
