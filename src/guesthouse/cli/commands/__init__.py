"""One module per command: its function ``command`` with cyclopts annotations is all there is to add."""
