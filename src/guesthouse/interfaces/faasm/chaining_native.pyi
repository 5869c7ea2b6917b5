# Types of the compiled module; its documentation is in chaining_native.pyx.

FUNCTIONS: dict[str, int]
