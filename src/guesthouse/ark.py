"""Ark modules: the public face.

::

    import guesthouse.ark as ark

    with guesthouse.Host() as host:
        modules = ark.Modules(host)
        modules.register_module("worker", Path("worker.wasm").read_bytes())
        host.call("worker", b"abc", entry="upper")
        for run in modules.requests():
            print(run.module, run.function, run.state, run.fuel)

A registered module is a guest like any other; ``host.load`` loads Ark modules as well, with the limits of
other guests.
"""

from __future__ import annotations

import os
from collections.abc import Iterable

from guesthouse.guest import Guest
from guesthouse.host import DEFAULT_TENANT, Host
from guesthouse.interfaces.ark.codes import Code
from guesthouse.interfaces.ark.imports import MODULE_RUN
from guesthouse.interfaces.ark.journal import Journal, Run
from guesthouse.interfaces.ark.limits import LaunchLimits

__all__ = ["Code", "LaunchLimits", "Modules", "Run"]


class Modules:
    """The Ark modules of one tenant of a host, with what they launched.

    Args:
        host: where the modules live.
        tenant: whose they are.
        limits: what each module may launch and what each launch may use.
    """

    def __init__(
        self, host: Host, *, tenant: str = DEFAULT_TENANT, limits: LaunchLimits | None = None
    ) -> None:
        self.host, self.tenant = host, tenant
        self.limits = limits or LaunchLimits()

    def register_module(
        self,
        name: str,
        wasm: bytes | str | os.PathLike[str],
        private: bool = False,
        *,
        grant: Iterable[str] = (MODULE_RUN,),
        provides: Iterable[str] = (),
    ) -> Guest:
        """Make a module known by a name; handles to an earlier module of that name keep it.

        Args:
            name: what ``create_function`` finds it by.
            wasm: the module's bytes, or the path of a ``.wasm`` or ``.wat`` file.
            private: hide it from other tenants even where it provides something.
            grant: its capabilities.
            provides: functions that other tenants' modules may launch, if theirs say so; ``*`` for all.

        Raises:
            LoadError: the module cannot be loaded; an earlier one stays in place.
        """
        return self.host.load(
            wasm, name=name, tenant=self.tenant, interface="ark", grant=grant, private=private,
            provides=provides, limits=self.limits.as_limits(), replace=True, ark=self.limits,
        )  # fmt: skip

    def unregister_module(self, name: str) -> None:
        """Forget a module; existing handles keep it.

        Raises:
            NotFound: there is none of that name.
        """
        self.host.unload(name, tenant=self.tenant)

    def requests(self, state: str | None = None) -> list[Run]:
        """Return the tenant's launches that are remembered, oldest first.

        Args:
            state: only those that are ``queued``, ``running``, ``ok`` or ``failed``.
        """
        return [run for run in self._journal if run.tenant == self.tenant and state in {None, run.state}]

    def metrics(self) -> dict[str, object]:
        """Return the counters of the whole host: launched, succeeded, failed by cause, seconds."""
        return self._journal.metrics()

    @property
    def _journal(self) -> Journal:
        journal: Journal = self.host.service("launches")
        return journal
