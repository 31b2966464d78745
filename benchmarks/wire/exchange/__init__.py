"""Exchanges among local processes: each collective beside a C program with the same frames."""
