from guesthouse.engine import Instance
from guesthouse.resources.state import StateStore

FUNCTIONS: dict[str, int]

def bind(instance: Instance, store: StateStore) -> None: ...
