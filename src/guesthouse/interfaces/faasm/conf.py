"""Flags, diagnostics, and the places where the reference would move a call elsewhere (spec 2.4)."""

from __future__ import annotations

from guesthouse.calls import Call
from guesthouse.engine import Constant, HostFunction
from guesthouse.errors import CallError, Trap
from guesthouse.interfaces.faasm.io import text_at
from guesthouse.interfaces.faasm.rows import refused, row
from guesthouse.interfaces.faasm.session import session_of
from guesthouse.observe import log


class FunctionMigrated(CallError):
    """Raised by ``__faasm_host_interface_test(1)``, so that tests see host exceptions end a call."""


def conf_flag(call: Call, key: int) -> int:
    """Return whether a flag is on."""
    name = text_at(call.instance, key).decode(errors="replace")
    if name == "PYTHON_PRELOAD":
        return int(session_of(call).settings.python_preload)
    if name not in ("ALWAYS_ON", "ALWAYS_OFF"):
        log.warning("unknown flag", guest=call.guest, tenant=call.tenant, flag=name)
    return int(name == "ALWAYS_ON")


def backtrace(call: Call, depth: int) -> None:
    """Log which calls led here; the guest's own frames are in the trap of a call that fails."""
    chain: list[str] = []
    each: Call | None = call
    while each is not None and len(chain) < 64:
        chain.append(f"{each.guest}#{each.id}")
        each = each.parent
    log.info("backtrace", tenant=call.tenant, asked_depth=depth, calls=chain)


def host_interface_test(call: Call, number: int) -> None:
    """End the call by a host exception."""
    if number == 1:
        raise FunctionMigrated("the function was migrated", guest=call.guest)
    raise Trap(f"__faasm_host_interface_test knows no test {number}", guest=call.guest)


#: What the emulator of the reference offered to natively run Python (spec 2.4); calling it was an error.
_EMULATOR = (
    ("setEmulatedMessageFromJson", "i", "i"),
    ("emulatorGetAsyncResponse", "", "i"),
    ("emulatorSetCallStatus", "i", ""),
)

#: Object storage; the import links so that guests that never use it run (issue of a later version).
_S3 = (
    ("__faasm_s3_get_num_buckets", "", "i"),
    ("__faasm_s3_list_buckets", "ii", ""),
    ("__faasm_s3_get_num_keys", "i", "i"),
    ("__faasm_s3_get_num_keys_with_prefix", "ii", "i"),
    ("__faasm_s3_list_keys", "iii", ""),
    ("__faasm_s3_list_keys_with_prefix", "iiii", ""),
    ("__faasm_s3_add_key_bytes", "iiiii", "i"),
    ("__faasm_s3_get_key_bytes", "iiiii", "i"),
)

ROWS: tuple[HostFunction, ...] = (
    row("__faasm_conf_flag", "i", "i", conf_flag, "Tell whether a flag is on."),
    row("__faasm_backtrace", "i", "", backtrace, "Log which calls led here."),
    row("__faasm_host_interface_test", "i", "", host_interface_test, "End the call by a host exception."),
    # The planner is asked whether to move; on this host the answer is always no.
    row("__faasm_migrate_point", "ii", "", Constant(), "Go on here: calls are not moved while they run."),
    # A header's way to keep an instruction from being optimised out; C code imports it.
    row("__faasm_memory_layout_protection", "", "", Constant(), "Do nothing."),
    row("__tless_is_enabled", "", "i", Constant(0), "Tell that there is no enclave."),
    row("__tless_get_attestation_jwt", "ii", "", Constant(), "Do nothing: there is no enclave."),
    row("__tless_get_mrenclave", "ii", "", Constant(), "Do nothing: there is no enclave."),
    *refused(_EMULATOR, "there is no emulator around this function"),
    *refused(_S3, "this host offers no object storage; use faasm:// files or state"),
)
