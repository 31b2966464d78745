"""Engines that can be measured; the face for packages that add one."""

from pytest_dllama.backends.base import Backend, EngineOptions, EngineRequest, WorkerNotReady

__all__ = ["Backend", "EngineOptions", "EngineRequest", "WorkerNotReady"]
