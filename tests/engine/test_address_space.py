"""Where address space is short: less room for each memory, and words for what cannot be had at all."""

from __future__ import annotations

import json
import subprocess
import sys

import pytest

CHILD = """
import json, resource, sys
resource.setrlimit(resource.RLIMIT_AS, (int(sys.argv[1]) << 20,) * 2)
import guesthouse
from guesthouse.cli.machine import _address_space
from guesthouse.engine import wat_to_wasm

WASM = wat_to_wasm('''
  (module (memory (export "memory") 1)
    (func (export "small") (result i32) (memory.grow (i32.const 900)))
    (func (export "large") (result i32) (memory.grow (i32.const 20000))))
''')
found = {"doctor": _address_space().as_dict()}
with guesthouse.Host(cache=False) as host:
    try:
        guest = host.load(WASM, name="guest", limits=guesthouse.Limits(memory="4GiB"))
        found["misfit"] = guest.module.misfit
        found["codes"] = [guest.invoke(entry=entry).code for entry in ("small", "large")]
        template, opened = guest.module.link({}), []
        for _ in range(64):
            opened.append(template.open(memory_limit=1 << 32, output_limit=1))
            opened[-1].start()
    except guesthouse.Error as error:
        found["error"] = [type(error).__name__, str(error)]
print(json.dumps(found))
"""


def limited_to(mebibytes: int) -> dict:
    command = [sys.executable, "-c", CHILD, str(mebibytes)]
    ran = subprocess.run(command, capture_output=True, text=True, check=False)
    assert ran.returncode == 0, ran.stderr
    return json.loads(ran.stdout)


@pytest.mark.parametrize(("mebibytes", "room"), [(2048, "128 MiB"), (20000, "1024 MiB")])
def test_guests_run_with_less_room(mebibytes, room):
    found = limited_to(mebibytes)
    assert found["doctor"]["state"] == "absent"
    assert f"a memory can grow to {room} at most" in found["misfit"]
    assert found["codes"] == [1, 0xFFFFFFFF]
    assert found["error"][0] == "ResourceError"
    assert "none left for another instance; close some, or raise the limit (ulimit -v)" in found["error"][1]


def test_what_cannot_run_at_all_is_told_at_load_and_by_the_doctor():
    found = limited_to(400)
    assert found["error"][0] == "LoadError"
    for text in (found["error"][1], found["doctor"]["found"]):
        assert "no address space for guests: the engine reserves 4160 MiB for each memory" in text
        assert "ulimit -v unlimited" in text
    assert found["doctor"]["state"] == "broken"
