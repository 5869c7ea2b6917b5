"""``discovery.mdns``: finding and announcing services on the local network (spec/pulp.md 3.11)."""

from __future__ import annotations

import re
import socket
import threading
import time
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from guesthouse.engine import HostFunction
from guesthouse.interfaces.pulp import codec, memory
from guesthouse.interfaces.pulp.codec import DecodeError
from guesthouse.interfaces.pulp.extension import Environment, Extension, Refused, reply, request
from guesthouse.interfaces.pulp.structs import Message, go

if TYPE_CHECKING:
    from guesthouse.interfaces.pulp.body import CellCall
    from guesthouse.interfaces.pulp.cell import Cell

DEFAULT_SERVICE, DEFAULT_INSTANCE = "_projx._tcp", "projx"
DEFAULT_TIMEOUT, LONGEST_TIMEOUT = 2.5, 10.0
#: Announcements of one cell.
MOST = 8
#: Interfaces to use, comma separated; all of them where unset.
INTERFACES = "MDNS_INTERFACES"

_SERVICE = re.compile(r"_[A-Za-z0-9-]{1,15}\._(tcp|udp)")


@dataclass(slots=True)
class BrowseRequest(Message):
    """The request of ``mdns_browse``."""

    service: str = go("str")
    timeout_ms: int = go("uint32")


@dataclass(slots=True)
class AnnounceRequest(Message):
    """The request of ``mdns_announce``."""

    instance: str = go("str")
    service: str = go("str")
    port: int = go("uint32")


class MDNS(Extension):
    """Speaks multicast DNS for cells."""

    name = "discovery.mdns"
    summary = "Find and announce services on the local network."

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._interfaces: list[str] = []
        self._zeroconf: Any = None
        self._announced: dict[str, list[Any]] = {}

    def setup(self, environment: Environment) -> None:
        """Note the interfaces."""
        names = environment.settings.get(INTERFACES, "").split(",")
        self._interfaces = [name.strip() for name in names if name.strip()]

    def rows(self) -> tuple[HostFunction, ...]:
        """Return the two imports."""
        return (
            self.row("mdns_browse", "iiii", self.browse, "List the services of a kind that answer."),
            self.row("mdns_announce", "ii", self.announce, "Announce a service of the cell's."),
        )

    def _open(self) -> Any:
        """Return the multicast socket, opened on first use.

        Raises:
            Refused: with 99 without the library, with 4 without a network.
        """
        try:
            from zeroconf import InterfaceChoice, Zeroconf
        except ImportError:
            raise Refused(
                memory.ABSENT, "zeroconf is not installed: pip install 'guesthouse[pulp]'"
            ) from None
        with self._lock:
            if self._zeroconf is None:
                try:
                    self._zeroconf = Zeroconf(interfaces=self._interfaces or InterfaceChoice.Default)
                except OSError as error:
                    raise Refused(memory.FAILED, str(error)) from None
            return self._zeroconf

    def browse(self, call: CellCall, pointer: int, length: int, pointer_out: int, length_out: int) -> int:
        """Answer {service, timeout_ms} with [{name, addr}]; the host's own announcements are left out."""
        data = call.instance.read(pointer, length) if length else b"\x80"
        wanted = BrowseRequest.decode(data)
        kind = checked(wanted.service)
        seconds = wanted.timeout_ms / 1000
        seconds = seconds if 0 < seconds <= LONGEST_TIMEOUT else DEFAULT_TIMEOUT
        left = call.remaining()
        found = self._browse(call, kind, seconds if left is None else min(seconds, left))
        return reply(call, codec.encode(found) if found else b"", pointer_out, length_out)

    def _browse(self, call: CellCall, kind: str, seconds: float) -> list[dict[str, str]]:
        from zeroconf import DNSQuestionType, ServiceBrowser

        zeroconf = self._open()
        # Answers to us alone may reach another process of this machine: the port is shared.
        to_all = DNSQuestionType.QM
        names: set[str] = set()

        def heard(*, name: str, **_: object) -> None:
            names.add(name)

        browser = ServiceBrowser(zeroconf, kind, handlers=[heard], question_type=to_all)
        until = time.monotonic() + seconds
        try:
            while time.monotonic() < until:
                call.check()
                time.sleep(0.01)
        finally:
            browser.cancel()
        with self._lock:
            own = {info.name for infos in self._announced.values() for info in infos}
        found = []
        for name in sorted(names - own):
            info = zeroconf.get_service_info(kind, name, timeout=500, question_type=to_all)
            addresses = info.parsed_addresses() if info is not None else []
            ipv4 = next((address for address in addresses if ":" not in address), None)
            if ipv4 is not None:
                found.append({"name": name.removesuffix("." + kind), "addr": f"http://{ipv4}:{info.port}"})
        return found

    def announce(self, call: CellCall, pointer: int, length: int) -> int:
        """Announce {instance, service, port}; once per port."""
        from ipaddress import ip_address

        wanted = request(call, pointer, length, AnnounceRequest)
        kind = checked(wanted.service)
        if not 0 < wanted.port < 65536:
            raise DecodeError(f"{wanted.port} is no port")
        zeroconf = self._open()
        from zeroconf import Error, ServiceInfo

        addresses = [name for name in self._interfaces if _is_address(name)] or [_own_address()]
        info = ServiceInfo(
            kind, f"{wanted.instance or DEFAULT_INSTANCE}.{kind}", port=wanted.port,
            addresses=[ip_address(address).packed for address in addresses],
            server=f"{socket.gethostname().partition('.')[0] or DEFAULT_INSTANCE}.local.",
        )  # fmt: skip
        with self._lock:
            mine = self._announced.setdefault(call.cell.id, [])
            if any(other.port == wanted.port for other in mine):
                return memory.OK
            if len(mine) >= MOST:
                raise Refused(memory.FAILED, f"{MOST} services are announced")
            mine.append(info)
        try:
            zeroconf.register_service(info)
        except Error as error:
            with self._lock:
                mine.remove(info)
            raise Refused(memory.FAILED, repr(error)) from None
        return memory.OK

    def release(self, cell: Cell) -> None:
        """Take the cell's announcements back."""
        with self._lock:
            infos = self._announced.pop(cell.id, [])
        for info in infos:
            self._zeroconf.unregister_service(info)

    def teardown(self) -> None:
        """Take everything back and close the socket."""
        with self._lock:
            zeroconf, self._zeroconf = self._zeroconf, None
            self._announced.clear()
        if zeroconf is not None:
            zeroconf.close()


def checked(service: str) -> str:
    """Return the full name of a kind of service.

    Raises:
        DecodeError: it is not of the form ``_name._tcp``.
    """
    service = service.strip().removesuffix(".").removesuffix(".local") or DEFAULT_SERVICE
    if not _SERVICE.fullmatch(service):
        raise DecodeError(f"service {service!r} is not of the form _name._tcp")
    return f"{service}.local."


def _is_address(text: str) -> bool:
    try:
        socket.inet_aton(text)
    except OSError:
        return False
    return True


def _own_address() -> str:
    """The address that this machine uses towards the local network; nothing is sent."""
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as probe:
        try:
            probe.connect(("224.0.0.251", 5353))
        except OSError:
            return "127.0.0.1"
        return str(probe.getsockname()[0])
