# Types of the compiled module; its documentation is in traps.pyx.

TRAP_REASONS: tuple[str, ...]
