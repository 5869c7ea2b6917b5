"""The headers for guests compile without a warning, in C and, where they say so, in C++, and import what the host offers."""

from __future__ import annotations

import re
import subprocess
import sys
from pathlib import Path

import pytest

from guesthouse.engine import read
from guesthouse.host import builtin_registry
from guesthouse.registry import Status
from guesthouse.testing import guests

BAD = {Status.UNKNOWN, Status.WRONG_TYPE}
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


@pytest.mark.parametrize("header", HEADERS, ids=lambda path: path.name)
def test_what_a_header_declares_the_host_offers(header, tmp_path):
    names = declared(header)
    assert names
    source = tmp_path / "all.c"
    uses = "\n".join(f"    use((void *){name});" for name in names)
    source.write_text(
        f'#include "{header.name}"\n'
        "static void *volatile kept;\n"
        "static void use(void *function) { kept = function; }\n"
        f'__attribute__((export_name("all"))) void all(void) {{\n{uses}\n}}\n'
    )
    module = guests.build(source, flavour="reactor", flags=[f"-I{header.parent}"])
    needs = builtin_registry().explain(read(module.read_bytes()), frozenset())
    wrong = [f"{need.item.module}.{need.item.name}: {need.status}" for need in needs if need.status in BAD]
    assert not wrong
    assert len(needs) >= len(names)


def declared(header):
    """The C names of the functions that a header imports."""
    text = subprocess.run(
        [sys.executable, "-m", "ziglang", "cc", "-target", "wasm32-wasi", "-E", "-P", str(header)],
        stdout=subprocess.PIPE,
        text=True,
        check=True,
    ).stdout
    text = text.replace("__attribute__((noreturn))", "")
    declarations = re.findall(r'import_name\("[^"]+"\)\)\)\s*([^;{]*?)\(', text)
    return [re.split(r"[\s*]+", declaration.strip())[-1] for declaration in declarations]
