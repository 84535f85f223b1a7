"""What a running program touches: memory, packets, maps, helpers, kfuncs. No ELF, no routes."""
