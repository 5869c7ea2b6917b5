FUNCTIONS: dict[str, int]
WASI_PATH_OPEN: int

def read_beneath(root: int, path: bytes, most: int) -> bytes | None: ...
