"""Every import of the reference links; what is not offered ends the call and says so (spec 2)."""

from __future__ import annotations

import pytest

from guesthouse.engine import Trapping, wat_to_wasm
from guesthouse.errors import Trap
from guesthouse.interfaces.faasm.imports import IMPORTS
from guesthouse.testing import guests

_TYPES = {"i": "i32", "I": "i64", "f": "f32", "F": "f64"}
REFUSED = [row for row in IMPORTS if isinstance(row.implementation, Trapping)]

#: What the guests of the reference's optional parts import (spec 2.4, 2.9).
OPTIONAL = (
    "MPI_Init", "MPI_Send", "MPI_Recv", "MPI_Allreduce", "MPI_Alltoallv", "MPI_Sendrecv", "MPI_Cart_create",
    "MPI_Win_create", "MPI_Wtime", "MPI_Finalize", "__kmpc_fork_call", "__kmpc_for_static_init_4",
    "__kmpc_for_static_init_8", "__kmpc_reduce_nowait", "omp_get_wtime", "omp_set_num_threads",
    "__faasm_s3_get_num_buckets", "__faasm_s3_list_keys_with_prefix", "__faasm_s3_add_key_bytes",
    "__faasm_s3_get_key_bytes", "setjmp", "longjmp", "syscall", "__syscall7", "__cxa_throw",
    "setEmulatedMessageFromJson", "__faasm_sm_array", "shm_open", "__errno_location",
)  # fmt: skip


def test_what_is_optional_is_among_the_rows_that_end_the_call():
    assert set(OPTIONAL) <= {row.name for row in REFUSED}


@pytest.mark.parametrize("row", REFUSED, ids=lambda row: row.name)
def test_what_is_not_offered_links_and_names_itself_when_called(load, row):
    types = " ".join(_TYPES[letter] for letter in row.params)
    gives = f"(result {_TYPES[row.results]})" if row.results else ""
    values = " ".join(f"({_TYPES[letter]}.const 0)" for letter in row.params)
    call = f"(call $row {values})"
    guest = load("f", wat_to_wasm(f"""(module
      (import "{row.module}" "{row.name}" (func $row (param {types}) {gives}))
      (import "env" "__faasm_write_output" (func $output (param i32 i32)))
      (memory (export "memory") 1)
      (func (export "_start") (call $output (i32.const 0) (i32.const 1))
        {f"(drop {call})" if row.results else call}))"""))  # fmt: skip
    with pytest.raises(Trap) as caught:
        guest.call()
    assert row.name in str(caught.value)
    assert len(str(caught.value)) > len(row.name) + 20  # and why, or what to do instead


def test_functions_written_in_c_with_the_header_of_the_reference_link(load):
    """Its inline functions are undefined in C, and become imports."""
    guest = load("c", wat_to_wasm("""(module
      (import "env" "__faasm_memory_layout_protection" (func $protect))
      (import "env" "MPI_Init_thread" (func (param i32 i32 i32 i32) (result i32)))
      (import "env" "MPI_Gatherv" (func (param i32 i32 i32 i32 i32 i32 i32 i32 i32) (result i32)))
      (memory (export "memory") 1) (func (export "_start") (call $protect)))"""))  # fmt: skip
    assert guest.call() == b""


def test_functions_are_called_by_pointer_as_libffi_describes_them(load):
    guest = load("ffi", guests.load("guests/faasm/ffi.c"))
    sum_ = 200 - 3 - 100000 + (1 << 40) + 0.75
    assert guest.call() == f"{sum_:.2f} 1 -7 0 2 84030201 201".encode()


@pytest.mark.parametrize(
    ("mode", "message"),
    [
        (b"t", "is .*, described as"),
        (b"s", "libffi's type 13 cannot be passed"),
        (b"n", "described as"),
        (b"m", "1073741824 parameters, 24 can be passed"),
    ],
)
def test_a_call_that_libffi_describes_wrongly_ends_and_says_why(load, mode, message):
    guest = load("ffi", guests.load("guests/faasm/ffi.c"))
    with pytest.raises(Trap, match=message):
        guest.call(mode)
    assert guest.call().endswith(b" 201")


def test_calls_through_the_host_and_back_do_not_run_out_of_the_hosts_stack(load):
    guest = load("ffi", guests.load("guests/faasm/ffi.c"))
    with pytest.raises(Trap):
        guest.call(b"r")
    assert guest.submit(b"r").result().error is not None
    assert guest.call().endswith(b" 201")
