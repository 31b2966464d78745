"""The embedded quantized distributed engine: dllama's files and commands, measured from inside."""
