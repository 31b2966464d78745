"""One process at a time: the engine's own lock, for whatever it and we keep on one disk."""

from dllama_engine.system.locks import locked

__all__ = ["locked"]
