"""The headers for guests compile without a warning, in C and, where they say so, in C++, and import what the host offers."""

from __future__ import annotations

from pathlib import Path

import pytest

from guesthouse.engine import read
from guesthouse.testing import guests

HEADERS = sorted((Path(__file__).parents[2] / "sdk").glob("*.h"))


@pytest.mark.parametrize(
    ("header", "suffix"),
    [
        pytest.param(header, suffix, id=header.name + suffix)
        for header in HEADERS
        for suffix in (".c", ".cpp")
        if suffix == ".c" or "__cplusplus" in header.read_text()
    ],
)
def test_header_compiles_on_its_own(header, suffix, tmp_path):
    source = tmp_path / f"only{suffix}"
    source.write_text(f'#include "{header.name}"\n#include "{header.name}"\n')
    flags = [f"-I{header.parent}", "-Wall", "-Wextra", "-Wpedantic", "-Werror"]
    module = guests.build(source, flavour="reactor", flags=flags)
    assert not [item for item in read(module.read_bytes()).imports if item.module != "wasi_snapshot_preview1"]


def test_faasm_names_reach_their_imports(tmp_path):
    source = tmp_path / "names.c"
    source.write_text(
        """
        #include "faasm.h"
        static int child(void) { return 0; }
        FAASM_ZYGOTE() { return faasm_getpid() == 0; }
        int main(void) {
            int size, counter = 0;
            char *output;
            int id = faasmChainNamed("other", "x", 1);
            FAASM_ATOMIC_INCR(counter);
            faasmPushState("key");
            return faasmChainBatch(child, "3", 3) + faasmAwaitCallOutput(id, &output, &size) + counter;
        }"""
    )
    info = read(guests.build(source, flavour="faasm", flags=["-Wall", "-Wextra", "-Werror"]).read_bytes())
    assert {item.name for item in info.imports if item.module == "env"} == {
        "getpid",
        "__faasm_chain_name",
        "__faasm_chain_ptr",
        "__faasm_await_call",
        "__faasm_await_call_output",
        "__faasm_push_state",
        "__faasm_sm_critical_local",
        "__faasm_sm_critical_local_end",
    }
    assert {"_start", "_faasm_zygote", "__wasm_call_ctors", "malloc", "free", "memory"} <= set(info.exports)
