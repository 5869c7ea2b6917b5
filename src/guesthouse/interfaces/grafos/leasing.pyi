FUNCTIONS: dict[str, tuple[int, int]]
