"""The log keeps secrets and bytes to itself; instruments see events and cannot do harm."""

from __future__ import annotations

import io
import json
import logging

import pytest

from guesthouse.observe import Instrument, Instruments, configure, log


@pytest.fixture
def stream():
    logger = logging.getLogger("guesthouse")
    before = (logger.handlers[:], logger.level, logger.propagate)
    yield io.StringIO()
    logger.handlers[:], logger.propagate = before[0], before[2]
    logger.setLevel(before[1])


def test_text_lines_are_key_value_pairs(stream):
    configure("INFO", stream=stream)
    log.info("cell ready", cell="demo 1", count=3, share="100%")
    log.debug("unseen")
    line = stream.getvalue()
    assert line.startswith("time=") and line.count("\n") == 1
    assert 'level=INFO msg="cell ready" cell="demo 1" count=3 share=100%' in line


def test_json_lines_keep_their_fields(stream):
    configure("INFO", as_json=True, stream=stream)
    log.warning("slow", seconds=1.5)
    line = json.loads(stream.getvalue())
    assert (line["msg"], line["seconds"], line["level"]) == ("slow", 1.5, "WARN")


@pytest.mark.parametrize("as_json", [False, True])
def test_secrets_and_guest_bytes_stay_out(stream, as_json):
    configure("INFO", as_json=as_json, stream=stream)
    log.info(
        "call",
        auth_token="s3cr3t-a",
        headers={"Authorization": "s3cr3t-b"},
        input=b"s3cr3t-c",
        parts=[b"s3cr3t-d"],
    )
    assert "s3cr3t" not in stream.getvalue()
    assert "<8 bytes>" in stream.getvalue()


def test_a_traceback_follows_the_line(stream):
    configure("INFO", stream=stream)
    try:
        raise KeyError("gone")
    except KeyError:
        log.exception("lookup failed")
    assert "Traceback" in stream.getvalue() and "KeyError" in stream.getvalue()


def test_only_wanted_events_are_told():
    seen = []

    class Recorder(Instrument):
        def call_started(self, call):
            seen.append(call)

    instruments = Instruments()
    assert not instruments.wants("call_started")
    recorder = Recorder()
    instruments.add(recorder)
    assert instruments.wants("call_started") and not instruments.wants("call_ended")
    instruments.emit("call_started", "one")
    instruments.emit("call_ended", "one", None)
    instruments.remove(recorder)
    instruments.emit("call_started", "two")
    assert seen == ["one"]


def test_an_instrument_that_raises_is_taken_out_and_the_others_go_on(stream):
    configure("INFO", stream=stream)
    seen = []

    class Broken(Instrument):
        def call_started(self, call):
            raise RuntimeError("oops")

    class Recorder(Instrument):
        def call_started(self, call):
            seen.append(call)

    instruments = Instruments(Broken(), Recorder())
    instruments.emit("call_started", 1)
    instruments.emit("call_started", 2)
    assert seen == [1, 2]
    assert [type(one) for one in instruments] == [Recorder]
    assert stream.getvalue().count("oops") == 1
