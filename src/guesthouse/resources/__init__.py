"""What serves capabilities: state, leases, memory, blocks, and more, each with its backends."""
