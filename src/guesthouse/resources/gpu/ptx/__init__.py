"""A memory-safe subset of PTX on numpy: threads of a block in lock step (spec fabric.md 10)."""
