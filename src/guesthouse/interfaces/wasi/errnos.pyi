"""Types of the compiled module; its documentation is in errnos.pyx."""

ERRNO: dict[str, int]

def wasi_errno(code: int) -> int: ...
