"""Whose capability a cell gets, where several offer one name (spec/pulp.md 5.9).

Two packages may both offer ``storage.sqlite``.  Guessing would move a cell's data from one store to the
other when a package is installed, so a cell that declares such a name has to pin a provider::

    [capability_providers]
    "storage.sqlite" = "acme-postgres"
"""

from __future__ import annotations

from guesthouse.errors import LoadError
from guesthouse.interfaces.pulp.spec import CellSpec
from guesthouse.registry import Registry

#: Identity of this package's own capabilities.
OWN = "guesthouse"


class ProviderError(LoadError):
    """A cell does not say, or says wrongly, whose capability it wants.

    Attributes:
        capability: the capability.
        known: providers that offer it.
    """

    def __init__(self, message: str, *, cell: str, capability: str, known: tuple[str, ...]) -> None:
        super().__init__(message, guest=cell)
        self.capability, self.known = capability, known


def selected(registry: Registry, spec: CellSpec) -> Registry:
    """Return the registry as one cell sees it: one provider behind each name that it declares.

    Raises:
        ProviderError: a name with several providers has no pin, or a pin names nobody.
    """
    declared = {name.strip().lower() for name in spec.capabilities}
    for name, provider in spec.providers.items():
        known = tuple(each.provider for each in registry.offers(name) if each.provider)
        if name not in declared:
            message = f"pins a provider for {name!r}, which it does not declare; remove the pin or declare it"
        elif provider not in known:
            offer = ", ".join(known) or "nobody by name"
            message = f"pins {name!r} to the unknown provider {provider!r}; it is offered by {offer}"
        else:
            continue
        raise ProviderError(f"cell {spec.label!r} {message}", cell=spec.label, capability=name, known=known)
    for name in sorted(declared - spec.providers.keys()):
        rivals = registry.offers(name)
        if len(rivals) > 1:
            known = tuple(each.provider for each in rivals if each.provider)
            raise ProviderError(
                f"cell {spec.label!r} declares {name!r}, which several offer ({', '.join(known)}); "
                f'pin one: [capability_providers] "{name}" = "{known[0]}"',
                cell=spec.label,
                capability=name,
                known=known,
            )
    return registry.choosing(spec.providers) if spec.providers else registry
