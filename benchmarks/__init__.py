"""The engine beside memory bandwidth and llama.cpp, in one run: `python -m benchmarks`."""
