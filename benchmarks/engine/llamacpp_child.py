"""llama.cpp in a process of its own, told over standard input what to time; needs no engine.

python llamacpp_child.py MODEL.gguf N_THREADS
> prefill 128        < seconds
> decode 16          < seconds, behind what the context holds
"""

import ctypes
import sys
import time

import llama_cpp  # type: ignore[import-not-found]


def main() -> None:
    """Load the model, then obey."""
    path, n_threads = sys.argv[1], int(sys.argv[2])
    quiet = llama_cpp.llama_log_callback(lambda level, text, data: None)
    llama_cpp.llama_log_set(quiet, ctypes.c_void_p(0))
    llama_cpp.llama_backend_init()
    model = llama_cpp.llama_model_load_from_file(
        path.encode(), llama_cpp.llama_model_default_params()
    )
    params = llama_cpp.llama_context_default_params()
    params.n_ctx, params.n_batch, params.n_ubatch = 512, 512, 512
    params.n_threads = params.n_threads_batch = n_threads
    context = llama_cpp.llama_init_from_model(model, params)
    print("ready", flush=True)
    for line in sys.stdin:
        what, n = line.split()[0], int(line.split()[1])
        memory = llama_cpp.llama_get_memory(context)
        llama_cpp.llama_memory_clear(memory, True)
        if what == "prefill":
            seconds = run(context, n)
        else:
            run(context, 128)
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
