FUNCTIONS: dict[str, int]
