"""llama.cpp in a process of its own, told over standard input what to time; needs no engine.

python llamacpp_child.py MODEL.gguf N_THREADS N_POSITIONS
> prefill 128        < seconds, behind nothing
> decode 16          < seconds, behind the last prefill
"""

import ctypes
import sys
import time

import llama_cpp  # type: ignore[import-not-found]

BATCH = 512  # llama-bench's default


def main() -> None:
    """Load the model, then obey."""
    path, n_threads, n_positions = sys.argv[1], int(sys.argv[2]), int(sys.argv[3])
    quiet = llama_cpp.llama_log_callback(lambda level, text, data: None)
    llama_cpp.llama_log_set(quiet, ctypes.c_void_p(0))
    llama_cpp.llama_backend_init()
    model = llama_cpp.llama_model_load_from_file(
        path.encode(), llama_cpp.llama_model_default_params()
    )
    params = llama_cpp.llama_context_default_params()
    params.n_ctx, params.n_batch, params.n_ubatch = n_positions, BATCH, BATCH
    params.n_threads = params.n_threads_batch = n_threads
    context = llama_cpp.llama_init_from_model(model, params)
    print("ready", flush=True)
    for line in sys.stdin:
        what, n = line.split()[0], int(line.split()[1])
        if what == "prefill":
            llama_cpp.llama_memory_clear(llama_cpp.llama_get_memory(context), True)
            seconds = sum(run(context, min(BATCH, n - at)) for at in range(0, n, BATCH))
        else:
            seconds = sum(run(context, 1) for _ in range(n))
        print(seconds, flush=True)


def run(context: object, n_tokens: int) -> float:
    """Seconds for one batch behind what the context holds."""
    tokens = (llama_cpp.llama_token * n_tokens)(*range(1, n_tokens + 1))
    start_s = time.perf_counter()
    code = llama_cpp.llama_decode(context, llama_cpp.llama_batch_get_one(tokens, n_tokens))
    assert code == 0, code
    llama_cpp.llama_synchronize(context)
    return time.perf_counter() - start_s


if __name__ == "__main__":
    main()
