"""What cells say: the ``log`` capability and their standard output (spec/pulp.md 8.7)."""

from __future__ import annotations

import logging

import pytest

from guesthouse.interfaces.pulp.printing import Printer


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
    assert len(caplog.records[-1].getMessage()) < 10_000
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


def test_lines_are_put_together_and_endless_ones_are_cut(caplog) -> None:
    printer = Printer("cell", "stderr")
    with caplog.at_level(logging.INFO, "guesthouse"):
        for piece in (b"one", b" line\ntwo\n", b"th", b"ree\xff\n", b"x" * 5000):
            printer(piece)
    texts = [record.fields["text"] for record in caplog.records]
    assert texts[:3] == ["one line", "two", "three\N{REPLACEMENT CHARACTER}"]
    assert len(texts) == 4
