"""One guest, linked in as many ways as its calls need: with fewer capabilities, or metered.

Most calls use the form that the guest was loaded in.  A call made by another guest may have a ceiling of
capabilities below the guest's grants (capabilities never grow along a call, DESIGN section 4), and a
launch may want fuel counted; such forms are linked when they are first needed, and kept.
"""

from __future__ import annotations

import threading
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field

from guesthouse.engine import Engine, Module, Template
from guesthouse.registry import Links

#: Forms of one guest that are kept; what is linked beyond that is linked again when needed.
MOST_FORMS = 64


@dataclass(frozen=True, slots=True)
class Form:
    """A guest linked in one way.

    Attributes:
        template: what instances are opened from; ``None`` where the interface links each process itself.
        links: what answers each import.
        metered: whether fuel is counted.
        denied: imports that are linked to a refusal, as ``module.name``, with the capability they lack.
    """

    template: Template | None
    links: Links
    metered: bool
    denied: Mapping[str, str] = field(default_factory=dict)


class Variants:
    """The forms of one guest.  Any thread may use it.

    Args:
        engine: compiles the metered form.
        module: the module as it was compiled at load.
        links: its links under the full grants.
        granted: the full grants.
        metered: whether that module counts fuel.
        threads: whether it was compiled for shared memories.
        resolve: binds the imports under other grants; raises ``LoadError``.
    """

    def __init__(
        self,
        engine: Engine,
        module: Module,
        links: Links,
        granted: frozenset[str],
        *,
        metered: bool,
        threads: bool,
        resolve: Callable[[frozenset[str]], Links],
    ) -> None:
        self._engine, self._resolve, self._threads = engine, resolve, threads
        self._granted = granted
        self._lock = threading.Lock()
        self._modules = {metered: module}
        self._shared = any(memory.shared for memory in module.info.memories)
        self.plain = self._form(module, links, metered)
        self._forms: dict[tuple[frozenset[str], bool], Form] = {}
        self._recent: dict[tuple[int, bool], tuple[frozenset[str], Form]] = {}

    def form(self, ceiling: frozenset[str] | None, *, metered: bool) -> Form:
        """Return the form for a call.

        Args:
            ceiling: capabilities that the call may use at most; ``None`` for all that were granted.
            metered: whether fuel has to be counted; a form that counts it serves other calls as well.

        Raises:
            LoadError: the guest cannot be linked with so few capabilities.
        """
        plain = self.plain
        if ceiling is None or ceiling is self._granted:
            if plain.metered or not metered:
                return plain
            ceiling = self._granted
        # Callers keep their set of capabilities for life, so the very set is what is looked for first.
        known = self._recent.get((id(ceiling), metered))
        if known is not None and known[0] is ceiling:
            return known[1]
        form = self._fitting(self._granted & ceiling, metered)
        if len(self._recent) >= MOST_FORMS:
            self._recent.clear()
        self._recent[id(ceiling), metered] = ceiling, form
        return form

    def _fitting(self, granted: frozenset[str], metered: bool) -> Form:
        plain = self.plain
        if (granted == self._granted) and (plain.metered or not metered):
            return plain
        key = granted, metered or plain.metered
        with self._lock:
            form = self._forms.get(key)
            if form is None:
                while len(self._forms) >= MOST_FORMS:
                    del self._forms[next(iter(self._forms))]
                form = self._forms[key] = self._link(*key)
        return form

    def of(self, template: Template | None) -> Form:
        """Return the form that a template belongs to; the plain one for templates made elsewhere."""
        if template is not self.plain.template:
            for form in tuple(self._forms.values()):
                if form.template is template:
                    return form
        return self.plain

    def _link(self, granted: frozenset[str], metered: bool) -> Form:
        links = self.plain.links if granted == self._granted else self._resolve(granted)
        module = self._modules.get(metered)
        if module is None:
            info = self._modules[not metered].info
            module = self._engine.compile(info, metered=metered, threads=self._threads)
            self._modules[metered] = module
        return self._form(module, links, metered)

    def _form(self, module: Module, links: Links, metered: bool) -> Form:
        template = None if self._shared else module.link(links)
        denied = {f"{own}.{name}": capability for own, name, capability in links.denied}
        return Form(template, links, metered, denied)
