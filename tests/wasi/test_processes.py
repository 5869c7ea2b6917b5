"""Processes that are given the same: made quickly for call after call, and with nothing left of an earlier one."""

from __future__ import annotations

import os

import pytest
from tests.wasi.driver import Wasi

from guesthouse.interfaces.wasi.options import WasiOptions
from guesthouse.interfaces.wasi.state import SLOT, Context, Root


class Prepared(Wasi):
    """A driver whose process was made beforehand."""

    def __init__(self, host, process):
        super().__init__(host)
        self.guest.dismiss(self.instance, None)
        self.instance = self.guest.template.open()
        self.instance.attach(SLOT, Context(process))
        self.instance.start()


def test_each_is_as_if_it_were_the_first(host, tmp_path):
    (tmp_path / "here").write_bytes(b"found")
    options = WasiOptions(
        args=("program", "word"), env={"NAME": "value"}, dirs={"/": Root(tmp_path, "/")}, stdin=b"typed",
        terminal=True, output_limit=7, descriptors=16,
    )  # fmt: skip
    make = options.maker()
    for _ in range(3):
        with Prepared(host, make()) as guest:
            assert guest.content("here") == b"found"
            assert guest.receive(0, 3) == (0, b"typ")
            assert guest.send(1, b"printed")[0] == 0
            assert guest.process.captured(1) == b"printed"
            assert guest.args_sizes_get(0x100, 0x104) == guest.environ_sizes_get(0x108, 0x10C) == 0
            sizes = [guest.u32(at) for at in (0x100, 0x104, 0x108, 0x10C)]
            assert sizes == [2, len(b"program\0word\0"), 1, len(b"NAME=value\0")]
            assert [guest.opened("here") for _ in range(12)] == list(range(4, 16))
            assert guest.open("here") == (33, None)
            assert guest.fd_close(0) == guest.fd_close(3) == 0
            assert guest.receive(0, 3)[0] == guest.open("here")[0] == 8


def test_a_callable_is_shared_and_let_go_of(host):
    printed = []
    make = WasiOptions(stdout=printed.append, stderr=None).maker()
    for text in (b"one", b"two"):
        with Prepared(host, make()) as guest:
            assert guest.send(1, text) == guest.send(2, text) == (0, 3)
    assert printed == [b"one", b"two"]


def test_what_belongs_to_one_process_is_not_given_to_another():
    files = WasiOptions(dirs={"/": {"file": b"of one call"}})
    assert files.maker() == files.process
    here, there = os.pipe()
    process = WasiOptions().process()
    process.add_descriptor(here, borrowed=False)
    with pytest.raises(ValueError, match="descriptor 3 belongs to one process only"):
        process.another()
    process.close()
    os.close(there)
