"""Link policy and generations: case 29, and 31 in part."""

from __future__ import annotations

import json
import os
from pathlib import Path

import pytest
from tests.wasix.driver import Driver, passing_on

import guesthouse
from guesthouse.engine import read, wat_to_wasm
from guesthouse.interfaces.wasix.generations import Generation, generation_of, report

CHECKOUT = os.environ.get("GUESTHOUSE_WASI_TESTSUITE")
PROGRAMS = sorted(Path(CHECKOUT).glob("tests/*/testsuite/wasm32-wasip1/*.wasm")) if CHECKOUT else []


def test_case_29_unknown_imports_are_named_all_at_once(host):
    with pytest.raises(guesthouse.MissingImports) as refused:
        host.load(passing_on(["no_such ie", "nor_this iie", "fd_dup iie"]), name="unknown")
    assert refused.value.imports == (("wasix_32v1", "no_such", None), ("wasix_32v1", "nor_this", None))
    assert "WASIX generation G1: " in str(refused.value)


def test_case_29_lenient_answers_52(host):
    with Driver(host, ["no_such iIe", "fd_dup iie"], lenient=True) as guest:
        assert guest.no_such(1, 2) == 52
        assert guest.fd_dup(1, 0) == 0


def test_case_29_wrong_type_names_both(host):
    with pytest.raises(guesthouse.WrongImportType) as refused:
        host.load(passing_on(["thread_spawn iiiiiie"]), name="mistyped", grant=["wasix"])
    assert refused.value.declared == "(i32, i32, i32, i32, i32, i32) -> i32"
    assert set(refused.value.offered) == {
        "(i32, i32, i64, i32, i32) -> i32",
        "(i64, i64, i64, i32, i32) -> i32",
        "(i32, i32) -> i32",
    }


def test_what_is_known_and_not_served_answers_52(host):
    with Driver(host, ["proc_fork iie", "dlsym iiiiiie"]) as guest:
        assert guest.proc_fork(0, 0) == 52
        assert guest.dlsym(0, 0, 0, 0, 0, 0) == 52


@pytest.mark.parametrize(
    ("functions", "expected"),
    [
        (["fd_read iiiie", "getpid ie"], Generation.G1),
        (["fd_read iiiie", "futex_wake iie"], Generation.G2),
        (["fd_read iiiie", "proc_id ie"], Generation.G2),
        (["wasi_snapshot_preview1:fd_read iiiie", "futex_wake iie"], Generation.G3),
        (["wasi:thread-spawn ii"], Generation.G3),
    ],
)
def test_generation_is_told_from_the_imports(functions, expected):
    assert generation_of(read(passing_on(functions))) is expected


def test_report_says_what_a_module_was_built_for():
    assert "G2" in report(read(passing_on(["proc_id ie"])))
    assert report(read(wat_to_wasm("(module)"))) is None


def test_generation_can_be_overridden_and_must_exist(host):
    with Driver(host, ["thread_id ie"], generation="G3") as guest:
        assert (guest.thread_id(0), guest.u32(0)) == (0, 1)
    with pytest.raises(guesthouse.LoadError, match="there are G1, G2 and G3"):
        host.load(passing_on(["thread_id ie"]), name="odd", generation="G4")


def test_a_rule_that_cannot_be_read_is_refused_at_load(host):
    with pytest.raises(guesthouse.LoadError, match="no network rule"):
        host.load(passing_on(["thread_id ie"]), name="odd", net=["ipv4:perhaps=1.2.3.4:5"])


@pytest.mark.skipif(not PROGRAMS, reason="GUESTHOUSE_WASI_TESTSUITE names no checkout")
@pytest.mark.parametrize("program", PROGRAMS, ids=lambda path: f"{path.parts[-4]}-{path.stem}")
def test_case_31_preview_1_with_wasix_linked_too(host, program, tmp_path):
    from tests.wasi.test_testsuite import _private_root

    described = program.with_suffix(".json")
    spec = json.loads(described.read_text()) if described.exists() else {}
    dirs = {"/": spec["root"]} if spec.get("root") else {name: name for name in spec.get("dirs", [])}
    copies = {
        name: str(_private_root(program.parent / where, tmp_path / f"root{index}"))
        for index, (name, where) in enumerate(dirs.items())
    }
    guest = host.load(program, name=program.name, interface="wasix", replace=True)
    ended = guest.run(spec.get("args", []), env=spec.get("env", {}), dirs=copies)
    assert ended.code == spec.get("exit_code", 0)
    if "stdout" in spec:
        assert ended.stdout.decode() == spec["stdout"]
