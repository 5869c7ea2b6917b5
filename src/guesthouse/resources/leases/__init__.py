"""Time-bounded grants: who holds what until when (spec fabric.md 8)."""
