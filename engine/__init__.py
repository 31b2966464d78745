"""The embedded quantized distributed engine: dllama's files and command lines, measured from inside."""
