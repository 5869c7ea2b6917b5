"""Rules about what a guest may reach: ``FAMILY:ACTION=HOST:PORT[/DIRECTION]``, denied unless allowed.

* FAMILY: ``dns``, ``ipv4`` or ``ipv6``.
* ACTION: ``allow`` or ``deny``; the first rule that fits decides.
* HOST: an address, a network such as ``10.0.0.0/8``, ``*``, and for ``dns`` a name or ``*.name``.
* PORT: a number, a range ``8000-8999``, or ``*``; not for ``dns``.
* DIRECTION: ``in`` or ``out``; both without one.

``allow`` alone allows everything; several rules can be given in one string, separated by commas.
"""

from __future__ import annotations

import ipaddress
import re
import threading
from collections.abc import Callable, Iterable
from dataclasses import dataclass

from guesthouse.interfaces.wasix.network import Address, NetworkError, NetworkErrorKind

_RULE = re.compile(
    r"(?P<family>dns|ipv4|ipv6):(?P<action>allow|deny)=(?P<host>\[[^\]]+\](?:/\d+)?|[^:\s]+)"
    r"(?::(?P<port>\*|\d+(?:-\d+)?))?(?P<direction>/(?:in|out))?"
)


@dataclass(frozen=True, slots=True)
class Rule:
    """One rule; see the module."""

    family: str
    allow: bool
    host: str
    low: int
    high: int
    direction: str | None

    @classmethod
    def parse(cls, text: str) -> list[Rule]:
        """Return the rules that one piece of text stands for.

        Raises:
            ValueError: it is no rule.
        """
        text = text.strip()
        if text in ("allow", "deny"):
            return [cls(family, text == "allow", "*", 0, 65535, None) for family in ("dns", "ipv4", "ipv6")]
        found = _RULE.fullmatch(text)
        if found is None:
            raise ValueError(
                f"{text!r} is no network rule; write for example 'ipv4:allow=127.0.0.1:8080/out' or 'allow'"
            )
        host, family = found["host"].replace("[", "").replace("]", ""), found["family"]
        if family != "dns" and host != "*":
            network = ipaddress.ip_network(host, strict=False)
            if network.version != int(family[-1]):
                raise ValueError(f"{text!r}: {host} is not of family {family}")
        low, _, high = (found["port"] or "*").partition("-")
        bounds = (0, 65535) if low == "*" else (int(low), int(high or low))
        direction = found["direction"][1:] if found["direction"] else None
        return [cls(family, found["action"] == "allow", host, *bounds, direction)]

    def fits(self, address: Address, direction: str) -> bool:
        """Say whether the rule is about an address."""
        ip, port = address
        if self.family != f"ipv{ip.version}" or self.direction not in (None, direction):
            return False
        if not self.low <= port <= self.high and port != 0:
            return False
        return self.host == "*" or ip in ipaddress.ip_network(self.host, strict=False)

    def fits_name(self, name: str) -> bool:
        """Say whether the rule is about a name."""
        if self.family != "dns":
            return False
        pattern, name = self.host.lower(), name.lower().rstrip(".")
        return pattern in ("*", name) or (pattern.startswith("*.") and name.endswith(pattern[1:]))


class Rules:
    """A list of rules, first come first served.

    Args:
        rules: one text with commas, or several.
        report: told once, in words, when something is refused.

    Raises:
        ValueError: one of them is no rule.
    """

    def __init__(
        self, rules: Iterable[str] | str = (), report: Callable[[str], object] | None = None
    ) -> None:
        texts = [rules] if isinstance(rules, str) else list(rules)
        parts = [part for text in texts for part in text.split(",") if part.strip()]
        self._rules = [rule for part in parts for rule in Rule.parse(part)]
        self.report = report
        self._lock = threading.Lock()
        self._said = False

    def __bool__(self) -> bool:
        return any(rule.allow for rule in self._rules)

    def demand(self, address: Address, direction: str) -> None:
        """Refuse what no rule allows.

        Args:
            address: where to, or where at.
            direction: ``in`` or ``out``.

        Raises:
            NetworkError: it is not allowed.
        """
        ip, port = address
        if ip.version == 6 and ip.ipv4_mapped is not None:  # the same peer by its other name
            address = (ip.ipv4_mapped, port)
        for rule in self._rules:
            if rule.fits(address, direction):
                if rule.allow:
                    return
                break
        self.refuse(address, direction)

    def refuse(self, address: Address, direction: str) -> None:
        """Refuse an address, and say so the first time.

        Raises:
            NetworkError: always.
        """
        ip, port = address
        family = f"ipv{ip.version}"
        host = f"[{ip}]" if ip.version == 6 else str(ip)
        self._refuse(f"{host}:{port}/{direction}", f"{family}:allow={host}:{port or '*'}/{direction}")

    def demand_name(self, name: str) -> None:
        """Refuse to look up a name that no rule allows.

        Raises:
            NetworkError: it is not allowed.
        """
        for rule in self._rules:
            if rule.fits_name(name):
                if rule.allow:
                    return
                break
        self._refuse(f"the name {name!r}", f"dns:allow={name}")

    def _refuse(self, what: str, mend: str) -> None:
        text = f"network: {what} is not allowed; a rule such as --net {mend} would allow it"
        with self._lock:
            first, self._said = not self._said, True
        if first and self.report is not None:
            self.report(text)
        raise NetworkError(NetworkErrorKind.PERMISSION_DENIED, text)
