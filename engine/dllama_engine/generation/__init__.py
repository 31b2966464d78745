"""Prefill and decode over any forward pass; knows no processes."""
