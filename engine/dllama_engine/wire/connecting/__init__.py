"""Connections between ranks: dialing, listening, and mutual authentication by a shared token."""
