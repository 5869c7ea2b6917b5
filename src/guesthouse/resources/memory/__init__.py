"""Byte-addressed memory to lease (spec fabric.md 4)."""
