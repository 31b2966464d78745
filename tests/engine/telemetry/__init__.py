"""Tests of dllama_engine.telemetry."""
