"""Files through real guests: the file rows of the test inventory (faasm.md 2.7, 7)."""

from __future__ import annotations

import gc
import threading
from pathlib import Path

import pytest

import guesthouse
from guesthouse import Limits
from guesthouse.engine import wat_to_wasm
from guesthouse.errors import MissingImports, Trap
from guesthouse.resources.files import FileTrees
from guesthouse.testing import guests

TENANT = "default"


@pytest.fixture
def c(load):
    return lambda name, **options: load(name, guests.build(f"guests/faasm/{name}.c"), **options)


@pytest.fixture
def trees(host) -> FileTrees:
    found = host.service("files")
    assert isinstance(found, FileTrees)
    return found


@pytest.mark.parametrize(
    "what", ["o", "f", "d", "s", "l", "w", "t", "c", "e"],
    ids=["file", "fread", "fcntl", "stat", "getdents", "write", "isatty", "getcwd", "escapes"],
)  # fmt: skip
def test_case_files(c, what):
    files = c("files")
    for _ in range(2):
        assert files.invoke(what.encode()).unwrap() == b""


def test_case_open_blocked_fails_the_call(c):
    result = c("open_blocked").invoke()
    assert result.code == 1 and result.output == b"Call failed (return value=1)"


def test_a_function_that_imports_only_what_programs_do_is_told_by_its_grants(c, host):
    def interface(*grant: str) -> str:
        return c("open_blocked", grant=grant, tenant="+".join(grant) or "none").interface

    assert {interface("faasm.files"), interface("faasm"), interface("faasm.state", "wasi.files")} == {"faasm"}
    assert {interface(), interface("wasi.files"), interface("faasm.files", "grafos.memory")} == {"wasi"}


def test_case_mmap_file_shows_the_first_bytes_of_hosts(c):
    assert c("mmap_file").invoke().code == 0


def test_case_state_file_makes_a_file_a_value(c, host):
    assert c("state_file").invoke().code == 0
    assert host.service("state").get(TENANT, b"state_file") == b"blah blah foo foo"


def test_state_from_a_file_that_cannot_be_read_ends_the_call(load):
    for path in ("/nowhere", "/etc", "/../secret", ""):
        wasm = wat_to_wasm(f"""(module
          (import "env" "__faasm_write_state_from_file" (func $set (param i32 i32) (result i32)))
          (memory (export "memory") 1) (data (i32.const 0) "key\\00{path}\\00")
          (func (export "_start") (drop (call $set (i32.const 0) (i32.const 4)))))""")
        error = load("f", wasm, replace=True).invoke().error
        assert isinstance(error, Trap) and "no file" in str(error)


def test_case_shared_file_twice_across_a_reset(c, trees):
    guest, tree = c("shared_file"), trees.tree(TENANT)
    for _ in range(2):
        assert guest.call(b"") == b""
        assert guest.call(b"read") == b"This is some dummy content"
        assert tree.shared_files() == ["test/shared-file.txt"]
        assert tree.get("test/shared-file.txt") == b"This is some dummy content"
        guest.call(b"delete")
        assert tree.shared_files() == []
        assert guest.invoke(b"read").code == 2
        assert guest.invoke(b"delete").code == 1


def test_a_shared_file_that_was_put_by_the_host_is_seen_and_replaced(c, trees):
    guest, tree = c("shared_file"), trees.tree(TENANT)
    for text in (b"one", b"another"):
        tree.put("faasm://test/shared-file.txt", text)
        assert guest.call(b"read") == text


def test_descriptors_and_files_after_a_call(c, host):
    files = c("files")
    assert files.invoke(b"q").code == 1
    for _ in range(3):
        assert files.invoke(b"k").code == 0  # leaves a descriptor open
    assert files.invoke(b"q").code == 0  # ordinary files stay on the host
    other = host.load(guests.build("guests/faasm/files.c"), name="files", tenant="other", grant=["faasm"])
    assert other.invoke(b"q").code == 1  # but are no business of another tenant


def test_without_the_capability_there_are_no_files(load):
    with pytest.raises(MissingImports, match="faasm.files"):
        load("files", guests.build("guests/faasm/files.c"), grant=["faasm.chain"])
    guest = load(
        "blocked", guests.build("guests/faasm/open_blocked.c"), grant=["faasm.chain"], interface="faasm"
    )
    assert guest.invoke().code == 1


def test_a_call_with_fewer_capabilities_finds_no_files(c, host):
    files = c("open_hosts", interface="faasm")
    assert files.invoke().code == 0
    result = host.scheduler.run("open_hosts", tenant=TENANT, capabilities=frozenset())
    assert result.error is None and result.code == 1


def test_a_full_tree_can_be_read_and_no_longer_written(c, trees, monkeypatch):
    monkeypatch.setattr("guesthouse.resources.files.trees._MEASURE_EVERY", 0)
    files = c("files", limits=Limits(disk="64KiB"))
    assert files.invoke(b"w").code == 0
    trees.tree(TENANT).put("large", bytes(100_000))
    assert files.invoke(b"w").code == 1
    assert files.invoke(b"o").code == 0
    trees.tree(TENANT).delete("large")
    assert files.invoke(b"w").code == 0


DQUOT = 19
KIB = 1024


def hogged(result):
    done, error = result.unwrap().split()
    return int(done), int(error)


def test_what_a_tenant_writes_is_bounded_while_its_calls_write(c, trees):
    hog = c("hog", limits=Limits(disk="1MiB", wall="60s"))
    most = KIB * KIB
    for turn in range(3):
        calls = [hog.submit(b"w file%d 3000" % number) for number in range(2)]
        ends = [hogged(call.result()) for call in calls]
        assert {error for _, error in ends} == {DQUOT}
        # What the tree holds from the beginning counts, too; a second of drift is put right by measuring.
        assert most - 100 * KIB < sum(done for done, _ in ends) <= most, turn
        assert hogged(hog.invoke(b"w another 10")) == (0, DQUOT)
        for number in range(2):  # a full tree can be made emptier
            hog.invoke(b"d file%d" % number)
        hog.invoke(b"d another")  # there was room for its name, perhaps
    assert trees.tree(TENANT).usage() < 100 * KIB


def test_empty_files_are_bounded_too(c):
    hog = c("hog", limits=Limits(disk="1MiB", wall="60s"))
    done, error = hogged(hog.invoke(b"n folder 100000"))
    assert error == DQUOT and 1500 < done <= 2048
    assert hogged(hog.invoke(b"n other 1"))[1] == DQUOT
    roomy = c("hog", tenant="roomy", limits=Limits(wall="60s"))
    assert hogged(roomy.invoke(b"n folder 3000")) == (3000, 0)


AFTERWARDS = """(module (import "test" "pause" (func $pause))
  (import "env" "__faasm_write_state_from_file" (func $set (param i32 i32) (result i32)))
  (import "env" "dlopen" (func $dlopen (param i32 i32) (result i32)))
  (import "env" "dlerror" (func $dlerror (result i32)))
  (import "env" "__faasm_write_output" (func $output (param i32 i32)))
  (table (export "__indirect_function_table") 1 funcref)
  (memory (export "memory") 1) (data (i32.const 0) "key\\00/etc/hosts\\00")
  (func (export "_start")
    (call $pause)
    (drop (call $set (i32.const 0) (i32.const 4)))
    (drop (call $dlopen (i32.const 4) (i32.const 0)))
    (call $output (call $dlerror) (i32.const 100))))"""


def test_what_a_running_call_needs_outlives_the_loading_of_its_guest():
    inside, unloaded = threading.Event(), threading.Event()

    @guesthouse.host_function
    def pause(call) -> None:
        inside.set()
        assert unloaded.wait(20)

    registry = guesthouse.Registry().gated(guesthouse.capability("test.pause", pause, module="test"))
    with guesthouse.Host(registry=registry) as host:
        guest = host.load(wat_to_wasm(AFTERWARDS), name="f", grant=["faasm", "test.pause"])
        running = guest.submit()
        assert inside.wait(20)
        host.unload("f")
        unloaded.set()
        # The library is found, and is none: the file was read.
        assert b"/etc/hosts: not a valid WebAssembly module" in running.result().unwrap()
        assert host.service("state").get("default", b"key") == b"127.0.0.1\tlocalhost\n"


def test_a_host_that_is_dropped_gives_its_directories_back():
    def opened():
        gc.collect()
        return len(list(Path("/proc/self/fd").iterdir()))

    wasm, counts = guests.load("guests/faasm/files.c"), []
    for _ in range(4):
        host = guesthouse.Host()
        host.load(wasm, name="files", grant=["faasm"])
        del host
        counts.append(opened())
    assert counts[-1] == counts[0]
