"""The guest side of Faasm: which exports are entered in which order, input in, output out (spec 3.1-3.3)."""

from __future__ import annotations

import struct
from collections.abc import Mapping, Sequence
from functools import lru_cache, partial

from guesthouse.calls import Call, Outcome
from guesthouse.engine import Exit, Instance
from guesthouse.engine.tables import invoke_at, signature_at
from guesthouse.errors import CallError, NotFound, Trap
from guesthouse.interfaces.contract import (
    CONSTRUCTORS,
    INITIALIZE,
    Beginning,
    Command,
    GuestSide,
    LoadedGuest,
    check_types,
)
from guesthouse.interfaces.faasm import files, linking, state
from guesthouse.interfaces.faasm.imports import IMPORTS
from guesthouse.interfaces.faasm.libraries import Rows
from guesthouse.interfaces.faasm.message import Message, message_of, signed
from guesthouse.interfaces.faasm.processes import Processes, has_shared_memory
from guesthouse.interfaces.faasm.rows import ENV
from guesthouse.interfaces.faasm.session import SESSION, Session, opened, session_of
from guesthouse.interfaces.faasm.settings import Settings
from guesthouse.interfaces.faasm.setup import PROGRAM, Printed, Setup
from guesthouse.interfaces.faasm.space import windows
from guesthouse.interfaces.wasi.imports import IMPORTS as WASI

#: Runs once, before the first call, if it is exported.
ZYGOTE = "_faasm_zygote"

_START = "_start"
_DESTRUCTORS = "__wasm_call_dtors"
#: The level below ``_start``, which runs no constructors.
_MAIN_VOID, _MAIN_ARGS = "__main_void", "__main_argc_argv"
MAINS = (_MAIN_VOID, _MAIN_ARGS)

#: Types of the exports that the host calls.
_PLAIN, _CODE = ("", ""), ("", "i")
_TYPES = {
    _START: (_PLAIN, _CODE),
    ZYGOTE: (_CODE, _PLAIN),
    INITIALIZE: (_PLAIN,),
    CONSTRUCTORS: (_PLAIN,),
    _DESTRUCTORS: (_PLAIN,),
    _MAIN_VOID: (_CODE, _PLAIN),
    _MAIN_ARGS: (("ii", "i"), ("ii", "")),
}

_PAGE = 65_536


class FaasmSide(GuestSide):
    """Faasm's part in one guest.

    Args:
        guest: the guest.

    Raises:
        ManifestError: a setting in the guest's configuration is wrong.
        LoadError: an export that the host calls is of another type.
    """

    def __init__(self, guest: LoadedGuest) -> None:
        super().__init__(guest)
        check_types(guest.info, _TYPES)
        self.settings = Settings.read(guest.config)
        exports = guest.info.exports
        self._zygote = ZYGOTE in exports
        self._start = _START in exports
        self._main = next((name for name in MAINS if name in exports), None)
        self._initializer = next((name for name in (INITIALIZE, CONSTRUCTORS) if name in exports), None)
        self._destructors = _DESTRUCTORS in exports
        self._prints = self.settings.capture_stdout
        self._files = files.FileView(guest) if files.CAPABILITY in guest.granted else None
        # Only WASI and WASIX ask how they are to be set up.
        self._commands = any(item.module != ENV for item in guest.info.imports)
        self._setup = Setup(self._files.directories if self._files is not None else {}, self._prints)
        self._setup_without_files = Setup({}, self._prints)
        self._state = guest.service("state") if state.CAPABILITY in guest.granted else None
        self._processes = Processes(guest, self._state) if has_shared_memory(guest.info) else None

    # -- around a call

    def bind(self, instance: Instance, call: Call | None) -> None:
        """Say how the call's session is opened, and how its WASI part is to be set up."""
        if self._state is not None:
            state.bind(instance, self._state, self.guest.tenant)
        if call is None:
            return
        scratch, payload = call.scratch, call.payload
        scratch[SESSION] = self._open
        if isinstance(payload, Command):
            if isinstance(payload.stdin, bytes):
                instance.input = payload.stdin
        elif not self._prints and not message_of(call).cmdline:
            if self._commands:
                scratch[Command] = self._setup_for(call).plain
            return
        scratch[Command] = self._setup_for(call).command(payload, message_of(call), session_of(call))

    def _setup_for(self, call: Call) -> Setup:
        """Return what sets a call's WASI part up, by the files that it may use."""
        view = self._view(call)
        if view is None:
            return self._setup_without_files
        view.measure()
        return self._setup

    def _view(self, call: Call) -> files.FileView | None:
        """Return the files that a call may use; its caller may have had less than the guest was granted."""
        if self._files is None or call.capabilities is None or files.CAPABILITY in call.capabilities:
            return self._files
        return None

    def _open(self, call: Call) -> Session:
        """Open the session of a call."""
        return Session(self.settings, self.guest, self._view(call), partial(self._library_rows, call))

    def release(self, instance: Instance, call: Call | None) -> None:
        """End the session."""
        if call is not None and (session := opened(call)) is not None:
            session.end(call)

    def _library_rows(self, call: Call) -> Rows:
        """Return what a call's libraries may import."""
        granted = self.guest.granted
        return _rows_under(granted if call.capabilities is None else granted & call.capabilities)

    # -- the call

    def serve(self, call: Call) -> Outcome:
        """Run one call in a fresh instance, or in a fresh process if its memory is shared between threads.

        Raises:
            CallError: the call ended without a result.
        """
        if self._processes is None:
            return super().serve(call)
        instance = self._processes.open(call)
        try:
            self.guest.start(instance, call)
            return self.run(instance, call)
        finally:
            self.guest.dismiss(instance, call)

    def run(self, instance: Instance, call: Call) -> Outcome:
        """Run one call in a fresh instance.

        Raises:
            CallError: the call ended by trap, host exception, deadline and the like.
        """
        message = message_of(call)
        try:
            code = self._enter_threaded(instance, call, message)
        except Exit as leaving:
            code = signed(leaving.code)
        if isinstance(call.payload, Command):
            return Outcome(code, Printed.of(session_of(call), instance.output))
        # The function's own output is lost when it fails, as it is in the reference; what it printed is not.
        output = instance.output if code == 0 else b"Call failed (return value=%d)" % code
        if self._prints and (printed := b"".join(session_of(call).printed)):
            output = printed + b"\n" + output
        return Outcome(code, output)

    def _enter_threaded(self, instance: Instance, call: Call, message: Message) -> int:
        """Run the function; what ends any thread by exception ends the call (spec 5.4)."""
        failure: BaseException | None = None
        code = 0
        try:
            code = self._enter(instance, call, message)
        except BaseException as error:
            failure = error
            raise
        finally:
            session = opened(call)
            crew = None if session is None else session.crew
            if crew is not None:
                crew.end()
                if crew.output is not None and failure is None and not instance.output:
                    instance.set_output(crew.output)
                cause = crew.outcome(failure)
                if cause is not None and cause is not failure:
                    raise cause
        return code

    def _enter(self, instance: Instance, call: Call, message: Message) -> int:
        """Run the function that the call asks for and return its code."""
        if message.pointer is not None:
            self._initialise(instance)
            code = self._pointer(instance, call, message.pointer)
        elif call.entry is not None and call.entry != _START:
            self._initialise(instance)
            code = self._export(instance, call, call.entry)
        elif self._main is not None and (self._zygote or not self._start):
            self._initialise(instance)
            code = self._enter_main(instance, session_of(call).args)
        elif self._start:
            if self._zygote:
                self._initialise(instance)
            instance.invoke(_START)  # runs the constructors and flushes its streams itself
            return 0
        else:
            raise NotFound("entry", _START, known=list(self.guest.info.exports), guest=call.guest)
        if self._destructors:
            instance.invoke(_DESTRUCTORS)  # flushes what the C library has buffered
        return code

    def initialise(self, instance: Instance, *, fully: bool, further: str | None) -> Beginning:
        """Run constructors and zygote: the state that a snapshot freezes.

        ``_start`` must not run again, too, where there is a level of ``main`` below it, since it would run
        the constructors a second time (spec 3.2).

        Raises:
            CallError: the zygote returned something other than 0.
        """
        if self._start and self._main is None and not self._zygote:
            return super().initialise(instance, fully=fully, further=further)
        self._initialise(instance)
        run = {name for name in (self._initializer, ZYGOTE) if name is not None}
        after = "its zygote" if self._zygote else "its constructors"
        return Beginning(after=after, without=run if self._main is None else run | {_START})

    def holdings(self, instance: Instance) -> Mapping[str, int]:
        """Count the state values that are mapped into the instance, and its libraries."""
        session = opened(instance.call) if instance.call is not None else None
        libraries = session.libraries if session is not None else None
        return {
            "pointers into state": windows(instance),
            "libraries": len(libraries.loaded) if libraries is not None else 0,
        }

    def _initialise(self, instance: Instance) -> None:
        """Run constructors and zygote.

        Raises:
            CallError: the zygote returned something other than 0.
        """
        if self._initializer is not None:
            instance.invoke(self._initializer)
        if self._zygote:
            code = instance.invoke(ZYGOTE)
            if code:
                raise CallError(f"the zygote returned {signed(code)}", function=ZYGOTE)

    def _pointer(self, instance: Instance, call: Call, index: int) -> int:
        """Call a table function: no parameter, or the input as a decimal number."""
        type_ = signature_at(instance, index)
        if type_ is None:
            raise Trap(f"no function at index {index} of the table", guest=call.guest)
        name = f"function {index} of the table"
        return _code(invoke_at(instance, index, *_arguments(type_, call, name)))

    def _export(self, instance: Instance, call: Call, name: str) -> int:
        type_ = instance.signature(name)
        if type_ is None:
            raise NotFound("entry", name, known=list(self.guest.info.exports), guest=call.guest)
        return _code(instance.invoke(name, *_arguments(type_, call, name)))

    def _enter_main(self, instance: Instance, args: Sequence[str]) -> int:
        if self._main == _MAIN_VOID:
            return _code(instance.invoke(_MAIN_VOID))
        words = [PROGRAM, *args]
        return _code(instance.invoke(_MAIN_ARGS, len(words), _place_arguments(instance, words)))


@lru_cache(maxsize=16)
def _rows_under(granted: frozenset[str]) -> Rows:
    if linking.CAPABILITY not in granted:
        return {}
    return linking.granted_rows((*IMPORTS, *WASI), granted)


def _arguments(type_: tuple[str, str], call: Call, name: str) -> tuple[int, ...]:
    """Return what a pointer call passes: nothing, or its input as a decimal number (spec 3.3).

    Raises:
        CallError: the function is of another type, or the input is no number.
    """
    params, results = type_
    if params not in ("", "i") or results not in ("", "i"):
        raise CallError(f"{name} takes more than one i32 or returns more than that", guest=call.guest)
    if not params:
        return ()
    text = call.input.rstrip(b"\0").strip()
    try:
        return (int(text or b"0"),)
    except ValueError:
        raise CallError(f"the input is no decimal number, which {name} needs", guest=call.guest) from None


def _code(result: int | None) -> int:
    return 0 if result is None else signed(result)


def _place_arguments(instance: Instance, words: list[str]) -> int:
    """Put ``argv`` into memory from the guest's own ``malloc``, or into new pages; return its address.

    Raises:
        CallError: the guest has no memory left for it.
    """
    texts = [word.encode() + b"\0" for word in words]
    table = 4 * (len(texts) + 1)
    size = table + sum(map(len, texts))
    if instance.signature("malloc") == ("i", "i"):
        start: int = instance.invoke("malloc", size) & 0xFFFFFFFF
    else:
        start = instance.grow(-(-size // _PAGE)) * _PAGE
    if not start:
        raise CallError(f"malloc has no {size} bytes for the arguments", function="malloc")
    addresses, position = [], start + table
    for text in texts:
        addresses.append(position)
        position += len(text)
    instance.write(start, struct.pack(f"<{len(texts) + 1}I", *addresses, 0) + b"".join(texts))
    return start
