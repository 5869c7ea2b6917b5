"""What cells say: the ``log`` capability and their standard output (spec/pulp.md 8.7)."""

from __future__ import annotations

import logging

import pytest
from tests.pulp.test_runtime import until

from guesthouse.interfaces.pulp.printing import Printer
from guesthouse.testing.guests import wat


@pytest.mark.parametrize(("level", "name"), [(0, "DEBUG"), (1, "INFO"), (2, "WARNING"), (3, "ERROR")])
def test_a_line_has_its_level_and_the_cells_name(window, caplog, level, name) -> None:
    cell = window("log")
    with caplog.at_level(logging.DEBUG, "guesthouse"):
        assert cell("log_write", level, "hällo\nworld".encode())[0] == 0
    (record,) = [record for record in caplog.records if "cell log" in record.getMessage()]
    assert record.levelname == name
    assert record.fields["cell"] == "any"
    assert record.fields["text"] == "hällo\nworld"


def test_codes_and_limits(window, caplog) -> None:
    cell = window("log")
    assert cell("log_write", 1, b"")[0] == 1
    assert cell("log_write", 4, b"x")[0] == 4
    assert cell("log_write", 0xFFFFFFFF, b"x")[0] == 4
    assert cell("log_write", 1, 0xFFFFFFF0, 100)[0] == 2
    with caplog.at_level(logging.INFO, "guesthouse"):
        assert cell("log_write", 1, b"y" * 100_000)[0] == 0
    assert "".join(record.fields["text"] for record in caplog.records) == "y" * 8192
    assert window()("log_write", 1, b"x")[0] == 99


def test_what_a_go_cell_prints_is_in_the_log(application, caplog) -> None:
    import httpx

    app = application({"wasm": "goecho", "name": "go", "capabilities": ["transport.http.inbound"]})
    with caplog.at_level(logging.INFO, "guesthouse"):
        assert httpx.get(f"{app.url}/echo/word").text == "word"
    (record,) = [record for record in caplog.records if "cell output" in record.getMessage()]
    assert (record.fields["cell"], record.fields["stream"], record.fields["text"]) == (
        "go",
        "stdout",
        "echoing word",
    )


LAST_WORDS = """
(module
  (import "wasi_snapshot_preview1" "fd_write" (func $write (param i32 i32 i32 i32) (result i32)))
  (memory (export "memory") 1)
  (data (i32.const 8) "\\10\\00\\00\\00\\0a\\00\\00\\00")
  (data (i32.const 16) "I give up!")
  (func (export "pulp_alloc") (param i32) (result i32) (i32.const 1024))
  (func (export "pulp_init") (param i32 i32) (result i32) (i32.const 0))
  (func (export "pulp_step") (param i32 i32) (result i32)
    (drop (call $write (i32.const 2) (i32.const 8) (i32.const 1) (i32.const 0))) unreachable)
  (func (export "pulp_shutdown") (result i32) (i32.const 0)))
"""


def test_the_last_words_of_a_cell_are_in_the_log_though_no_line_ends_them(
    application, tmp_path, caplog
) -> None:
    (tmp_path / "gives-up.wasm").write_bytes(wat(LAST_WORDS))
    with caplog.at_level(logging.INFO, "guesthouse"):
        app = application({"wasm": str(tmp_path / "gives-up.wasm"), "name": "cell", "restart": "never"})
        until(lambda: app.runtime.status()[0]["state"] == "failed")
    (record,) = [record for record in caplog.records if "cell output" in record.getMessage()]
    assert (record.fields["stream"], record.fields["text"]) == ("stderr", "I give up!")


def test_lines_are_put_together_and_endless_ones_come_in_pieces(caplog) -> None:
    printer = Printer("cell", "stderr")
    with caplog.at_level(logging.INFO, "guesthouse"):
        for piece in (
            b"one",
            b" line\ntwo\n",
            b"th",
            b"ree\xff\n",
            b"x" * 5000,
            b"\n",
            b"y" * 9000 + b"\nrest",
        ):
            printer(piece)
        printer.flush()
        printer.flush()
    texts = [record.fields["text"] for record in caplog.records]
    assert texts[:3] == ["one line", "two", "three\N{REPLACEMENT CHARACTER}"]
    assert [len(text) for text in texts[3:]] == [*[1000] * 5, 0, *[1000] * 9, 4]
