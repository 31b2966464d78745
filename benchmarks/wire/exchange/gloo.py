"""`python -m benchmarks.wire.exchange.gloo`: one rank of Gloo's all-reduce, if torch is there."""

from __future__ import annotations

import sys
import time


def main(arguments: list[str]) -> None:
    """store_file n_bytes rank n repeats warm_up; prints seconds per all-reduce of float32."""
    import torch
    import torch.distributed as dist

    store = arguments[0]
    n_bytes, rank, n, repeats, warm_up = map(int, arguments[1:])
    torch.set_num_threads(1)
    dist.init_process_group("gloo", init_method=f"file://{store}", rank=rank, world_size=n)
    vector = torch.zeros(n_bytes // 4)
    start_s = 0.0
    for i in range(-warm_up, repeats):
        if i == 0:
            start_s = time.perf_counter()
        dist.all_reduce(vector)
    print((time.perf_counter() - start_s) / repeats, flush=True)
    dist.destroy_process_group()


if __name__ == "__main__":
    main(sys.argv[1:])
