"""Framed messages between ranks, counted; knows no tensors."""
