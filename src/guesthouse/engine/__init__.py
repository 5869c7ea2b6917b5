"""The engine room: the only package that knows wasmtime (DESIGN section 3)."""

from guesthouse.engine.compile import Engine, Module, Progress
from guesthouse.engine.core import Attachment, Instance, claim_slot
from guesthouse.engine.exits import Exit, OutOfBounds
from guesthouse.engine.functions import (
    Constant,
    HostFunction,
    Implementation,
    Native,
    Trapping,
    signature,
)
from guesthouse.engine.linker import SharedMemory, Template
from guesthouse.engine.modules import ModuleInfo, read, read_file
from guesthouse.engine.places import Places, Turn
from guesthouse.engine.text import wat_to_wasm
from guesthouse.engine.waking import notifier, wake_all

__all__ = [
    "Attachment",
    "Constant",
    "Engine",
    "Exit",
    "HostFunction",
    "Implementation",
    "Instance",
    "Module",
    "ModuleInfo",
    "Native",
    "OutOfBounds",
    "Places",
    "Progress",
    "SharedMemory",
    "Template",
    "Trapping",
    "Turn",
    "claim_slot",
    "notifier",
    "read",
    "read_file",
    "signature",
    "wake_all",
    "wat_to_wasm",
]
