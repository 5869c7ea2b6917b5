"""Programs and reactors that are frozen once they are warm, an interpreter-sized one among them."""

from __future__ import annotations

import json

import pytest

import guesthouse
from guesthouse import snapshots
from guesthouse.cli import main
from guesthouse.engine import read, wat_to_wasm
from guesthouse.engine.snapshot import SnapshotRefused
from guesthouse.testing import guests

CONSTRUCTORS = ["-Wl,--export=__wasm_call_ctors"]


@pytest.fixture
def host():
    with guesthouse.Host(workers=1) as made:
        yield made


def test_a_go_reactor_of_six_megabytes_starts_where_it_was_warm(host):
    wasm = guests.load("guests/wasi/templates.go")
    assert len(wasm) > 3 << 20
    taken = snapshots.take(host, wasm, "templates", initialiser="warm")
    assert (taken.after, taken.short_of) == ("warm", None)
    assert "the time it read" in taken.fixed
    guest = host.load(taken.wasm, name="templates")
    asked = json.dumps({"page": "page3", "words": ["word5", "word77"]}).encode()
    for _ in range(3):
        assert guest.call(asked, entry="answer").endswith(b" 3 (warmed 1 times, 100000 words)")
    assert host.load(wasm, name="cold").call(asked, entry="answer") == guest.call(asked, entry="answer")


def test_the_constructors_of_a_program_run_before_what_warms_it_up_and_once(host):
    wasm = guests.load("guests/wasi/warmed.c", flavour="command", flags=CONSTRUCTORS)
    guest = host.load(snapshots.take(host, wasm, "w", initialiser="warm").wasm, name="w")
    for word in ("one", "two"):
        assert guest.run([word]).stdout == b"1 10  %s\n" % word.encode()
    assert host.load(wasm, name="cold").run().stdout == b"1 0 - -\n"


def test_what_a_guest_reads_while_it_warms_up_is_kept(tmp_path, capsys):
    source = guests.build("guests/wasi/warmed.c", flavour="command", flags=CONSTRUCTORS)
    (tmp_path / "library").mkdir()
    (tmp_path / "library" / "first.txt").write_text("from a file\n")
    frozen = tmp_path / "frozen.wasm"
    given = ["--init", "warm", "--dir", f"{tmp_path / 'library'}:/lib:ro", "--env", "LEARN=/lib/first.txt"]
    assert main(["snapshot", str(source), "-o", str(frozen), *given, "--json"]) == 0
    told = json.loads(capsys.readouterr().out)
    assert told["after"] == "warm" and "its environment" in told["fixed"]
    with guesthouse.Host() as host:
        assert host.load(frozen).run(["later"]).stdout == b"1 10 from a file later\n"
    # A file that stays open is nothing that a module could keep.
    assert main(["snapshot", str(source), "-o", str(frozen), *given, "--env", "KEEP=1"]) == 125
    assert "1 open descriptors" in capsys.readouterr().err


WIZER = wat_to_wasm("""(module
  (import "wasi_snapshot_preview1" "proc_exit" (func $exit (param i32)))
  (memory (export "memory") 1) (global $state (mut i32) (i32.const 1))
  (func (export "wizer.initialize") (global.set $state (i32.add (global.get $state) (i32.const 10))))
  (func (export "wizer.resume") (call $exit (global.get $state)))
  (func (export "_start") (call $exit (i32.const 99))))""")


def test_modules_made_for_wizer_are_frozen_as_they_are(host):
    taken = snapshots.take(host, WIZER, "w")
    assert taken.after == "wizer.initialize"
    assert list(read(taken.wasm).exports) == ["memory", "_start"]
    assert host.load(taken.wasm, name="w").run().code == 11


def test_what_fails_to_warm_up_is_refused(host):
    with pytest.raises(SnapshotRefused, match="returned 3"):
        snapshots.take(host, wat_to_wasm('(module (func (export "warm") (result i32) (i32.const 3)))'), "w",
                       initialiser="warm")  # fmt: skip


def test_a_program_of_which_nothing_runs_says_so(tmp_path, capsys):
    source = guests.build("guests/wasi/warmed.c", flavour="command")
    assert main(["snapshot", str(source), "-o", str(tmp_path / "same.wasm")]) == 0
    assert "name an export that gets it ready with --init" in capsys.readouterr().out
    with guesthouse.Host() as host:
        assert host.load(tmp_path / "same.wasm").run().stdout == b"1 0 - -\n"
