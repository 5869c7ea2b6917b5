class Tenant:
    name: str
    number: int
    quota: int
    used: int
    fenced: int
    active: int

class Lease:
    owner: Tenant
    id: int
    capacity: int
    start: int
    units: int
    generation: int
    ended_at: int | None
    @property
    def tenant(self) -> str: ...
    @property
    def expires_at(self) -> int: ...
    @property
    def status(self) -> int: ...
