"""The pluggable WASI runtime: what an embedder puts under WASIX programs.

::

    class Quiet(guesthouse.wasix.PluggableRuntime):
        def getpid(self):
            return 4242

    guest = host.load("program.wasm", grant=["wasix"], runtime=Quiet(networking=LoopbackNetworking()))
"""

from guesthouse.interfaces.wasix.bus import (
    BusCalled,
    BusCallEvent,
    BusDataFormat,
    BusError,
    BusErrorCode,
    BusInvocation,
    BusListener,
    BusProcess,
    Callback,
    Fault,
    Response,
    SpawnOptions,
    StdioMode,
    UnsupportedVirtualBus,
    VirtualBus,
)
from guesthouse.interfaces.wasix.generations import Generation, generation_of, report
from guesthouse.interfaces.wasix.hostnet import HostNetworking
from guesthouse.interfaces.wasix.localbus import LocalBus
from guesthouse.interfaces.wasix.loopback import LoopbackNetworking
from guesthouse.interfaces.wasix.network import (
    HttpStatus,
    IpCidr,
    IpRoute,
    NetworkError,
    NetworkErrorKind,
    Shutdown,
    SocketReceive,
    SocketReceiveFrom,
    SocketStatus,
    StreamSecurity,
    TimeType,
    UnsupportedVirtualNetworking,
    VirtualNetworking,
    VirtualTcpListener,
    VirtualTcpSocket,
    VirtualUdpSocket,
)
from guesthouse.interfaces.wasix.rules import Rules
from guesthouse.interfaces.wasix.runtime import (
    BaseRuntime,
    BaseWasiRuntime,
    PluggableRuntime,
    Runtime,
    ThreadedRuntime,
    ThreadErrorKind,
    TtyState,
    WasiExit,
    WasiRuntime,
    WasiThreadError,
    WasiTtyState,
)
from guesthouse.interfaces.wasix.terminal import TerminalTty

__all__ = [
    "BaseRuntime",
    "BaseWasiRuntime",
    "BusCallEvent",
    "BusCalled",
    "BusDataFormat",
    "BusError",
    "BusErrorCode",
    "BusInvocation",
    "BusListener",
    "BusProcess",
    "Callback",
    "Fault",
    "Generation",
    "HostNetworking",
    "HttpStatus",
    "IpCidr",
    "IpRoute",
    "LocalBus",
    "LoopbackNetworking",
    "NetworkError",
    "NetworkErrorKind",
    "PluggableRuntime",
    "Response",
    "Rules",
    "Runtime",
    "Shutdown",
    "SocketReceive",
    "SocketReceiveFrom",
    "SocketStatus",
    "SpawnOptions",
    "StdioMode",
    "StreamSecurity",
    "TerminalTty",
    "ThreadErrorKind",
    "ThreadedRuntime",
    "TimeType",
    "TtyState",
    "UnsupportedVirtualBus",
    "UnsupportedVirtualNetworking",
    "VirtualBus",
    "VirtualNetworking",
    "VirtualTcpListener",
    "VirtualTcpSocket",
    "VirtualUdpSocket",
    "WasiExit",
    "WasiRuntime",
    "WasiThreadError",
    "WasiTtyState",
    "generation_of",
    "report",
]
