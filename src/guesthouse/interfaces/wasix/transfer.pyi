"""Types of the compiled module; its documentation is in the .pyx file of the same name."""

FUNCTIONS: dict[str, int]
