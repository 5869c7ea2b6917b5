"""512-byte blocks to lease, and tenants' devices (spec fabric.md 5)."""
