"""The support imports of section 4: input and output in pieces, log lines, panics, debug context."""

from __future__ import annotations

import pytest
from tests.ark.driving import INPUT, NAME, OUT, PAGES

SUCCESS, INVALID = 0, 5


def place(caller, address, text):
    """Write a text; its range."""
    caller.write(address, text)
    return address, len(text)


def said(lines, word):
    return [record.getMessage() for record in lines if word in record.getMessage()]


def test_input_is_read_in_pieces_too(caller):
    for size in (0, 1, 3, 1000):
        data = bytes(number % 256 for number in range(size))
        assert caller.output(caller.function("pieces"), data) == (SUCCESS, data)
    # whoever has no input gets nothing, wherever it asks
    assert caller.invoke("input_slice", OUT, 8, 0) == 0
    assert caller.invoke("input_slice", OUT, 8, 0xFFFFFFFF) == 0


def test_a_slice_is_as_long_as_its_bytes_whatever_the_number_of_elements(caller):
    caller.write(INPUT, b"abcdef")
    assert caller.invoke("return_slice", INPUT, 2, 6) == SUCCESS
    assert caller.do(lambda instance: instance.output) == b"abcdef"
    assert caller.invoke("return_slice", INPUT, 6, 0) == SUCCESS
    assert caller.do(lambda instance: instance.output) == b""


def test_there_are_no_extensions_and_no_pending_vectors(caller):
    assert caller.invoke("extension", 0x8756_3A19_6243_4366) == 0
    caller.write(OUT, b"\xee" * 8)
    assert caller.invoke("vector", OUT, 8) == INVALID
    assert caller.read(OUT, 8) == b"\xee" * 8


def test_a_panic_is_logged_with_its_context(caller, log_lines):
    def add(name, value):
        caller.invoke("add_context", *place(caller, NAME, name), *place(caller, INPUT, value))

    def panic(text):
        assert (
            caller.invoke("panic", *place(caller, INPUT, text), *place(caller, NAME, b"lib.rs"), 1, 2)
            == SUCCESS
        )
        return said(log_lines, text.decode())[-1]

    add(b"user", b"ann")
    add(b"level", b"one")
    add(b"level", b"two")
    line = panic(b"first")
    assert "first (lib.rs:1:2)" in line
    assert "'user': 'ann'" in line
    assert "'level': 'two'" in line
    caller.invoke("remove_context", *place(caller, NAME, b"level"))
    assert "'level': 'one'" in panic(b"second")
    caller.invoke("remove_context", *place(caller, NAME, b"level"))
    caller.invoke("remove_context", *place(caller, NAME, b"level"))  # there is none any more
    assert "level" not in panic(b"third").partition("context=")[2].partition("}")[0]
    # outside of memory nothing happens; newer properties displace the oldest
    caller.invoke("add_context", PAGES, 1, INPUT, 1)
    caller.invoke("remove_context", PAGES - 1, 2)
    for number in range(100):
        add(b"n%d" % number, b"x")
    line = panic(b"fourth")
    assert "'n99'" in line
    assert "'n36'" in line
    assert "'n35'" not in line


@pytest.mark.parametrize("level", [5, 6, 0xFFFFFFFF])
def test_a_level_that_does_not_exist_is_refused(caller, log_lines, level):
    assert caller.invoke("log", level, *place(caller, INPUT, b"nobody reads this")) == INVALID
    assert said(log_lines, "nobody reads this") == []


def test_long_lines_are_cut_and_bytes_that_are_no_text_are_marked(caller, log_lines):
    caller.write(INPUT, b"long" + b"x" * 60_000)
    assert caller.invoke("log", 2, INPUT, 60_004) == SUCCESS
    (line,) = said(log_lines, "longx")
    assert "(16384 characters)" in line  # and the log itself shows the beginning only
    assert caller.invoke("log", 2, *place(caller, INPUT, b"bad \xff\xfe bytes")) == SUCCESS
    assert said(log_lines, "bad \N{REPLACEMENT CHARACTER}")
