"""What the planner can be told about where calls run, on a host that is the only one (spec faasm 5.2, 6.1).

Whatever the policy, all calls run here; so a policy is kept and told, no more.  Under ``spot`` hosts can be
named that will be taken away soon.  When this one is among them, no batch is taken any more; what runs, ends.

A token of one tenant sets all this for that tenant, any other for everybody.
"""

from __future__ import annotations

from dataclasses import dataclass, field

import msgspec

from guesthouse.server.answers import BadRequest
from guesthouse.server.faasm.messages import HOSTNAME, BatchRequest

#: The policies of the reference; the first is the default.
POLICIES = ("bin-pack", "compact", "spot")


class Evicted(msgspec.Struct, kw_only=True):
    """Which hosts will be taken away next."""

    hosts: list[str] = msgspec.field(name="vmIps", default=[])


@dataclass(slots=True)
class _Setting:
    policy: str = POLICIES[0]
    evicted: frozenset[str] = field(default=frozenset())


class Placement:
    """Policy and hosts to be evicted, per tenant whose token set them; ``None`` stands for the operator."""

    def __init__(self) -> None:
        self._settings: dict[str | None, _Setting] = {}

    def _of(self, tenant: str | None) -> _Setting:
        return self._settings.get(tenant) or self._settings.get(None) or _Setting()

    def policy(self, tenant: str | None) -> str:
        """Return the policy that holds for a tenant."""
        return self._of(tenant).policy

    def set_policy(self, tenant: str | None, name: str) -> None:
        """Choose a policy; hosts that were to be evicted are so no more.

        Raises:
            BadRequest: there is no such policy.
        """
        if name not in POLICIES:
            raise BadRequest(f"Unrecognised policy name: {name[:80]}")
        self._settings[tenant] = _Setting(name)

    def evicted(self, tenant: str | None) -> list[str]:
        """Return the hosts that will be taken away next."""
        return sorted(self._of(tenant).evicted)

    def evict(self, tenant: str | None, payload: str) -> None:
        """Name the hosts that will be taken away next.

        Raises:
            BadRequest: the policy is not ``spot``.
        """
        named = msgspec.json.decode(payload, type=Evicted)
        setting = self._of(tenant)
        if setting.policy != "spot":
            raise BadRequest("Next evicted VM must only be set in 'spot' policy")
        self._settings[tenant] = _Setting(setting.policy, frozenset(named.hosts))

    def takes(self, tenant: str) -> bool:
        """Say whether this host takes a tenant's batches: neither it nor the operator named it as evicted."""
        return not any(
            HOSTNAME in self._settings[own].evicted for own in (tenant, None) if own in self._settings
        )

    def reset(self, tenant: str | None) -> None:
        """Go back to the defaults."""
        if tenant is None:
            self._settings.clear()
        self._settings.pop(tenant, None)


def check_decision(payload: str) -> None:
    """Look at a decision made beforehand: it must be the one that this host would make.

    Raises:
        BadRequest: it wants a call to run on a host that does not exist.
    """
    batch = msgspec.json.decode(payload, type=BatchRequest)
    for index, message in enumerate(batch.messages):
        if message.executed_host not in ("", HOSTNAME):
            raise BadRequest(
                f"message {index} is to run on {message.executed_host[:80]!r}, which is not registered; "
                f"the only host is {HOSTNAME!r}"
            )
