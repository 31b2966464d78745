"""dllama's files, read and checked; knows no rank and makes no text."""
