"""Engines: they run a program. The JIT is fast, the interpreter checks every access."""
