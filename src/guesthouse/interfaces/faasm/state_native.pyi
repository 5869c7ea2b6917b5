from guesthouse.engine import Instance
from guesthouse.resources.state import Session, StateStore

FUNCTIONS: dict[str, int]

def session(instance: Instance) -> Session | None: ...
def bind(instance: Instance, store: StateStore, tenant: str) -> None: ...
