"""GPU sessions to lease, on whatever computes here (spec fabric.md 6 and 10)."""
