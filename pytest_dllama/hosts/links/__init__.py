"""Emulated links between processes of this machine: the relay, and the probes that watch it."""
