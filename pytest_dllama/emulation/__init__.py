"""Descriptions of emulated links and boards, from options and files; starts nothing."""
