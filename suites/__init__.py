"""The suites that users run: `pytest suites/`; from the wheel, `--pyargs pytest_dllama.suites`."""
