"""Programs for controllers, each run as `python -m dllama_engine.tools.NAME`."""
