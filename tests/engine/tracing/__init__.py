"""Tests of dllama_engine.tracing."""
