"""The real dllama: its command lines, what each version prints, its faults."""
