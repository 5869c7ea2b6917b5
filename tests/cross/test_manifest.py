"""Who may call whom, as a manifest says it."""

from __future__ import annotations

import pytest
from tests.cross.conftest import ENTRY, EVERYTHING

from guesthouse import application, errors, manifest
from guesthouse.testing import guests


def write(folder, tenant, **tables):
    """Write a manifest; each guest is given by its source and further lines."""
    lines = [f'[app]\nname = "{tenant}"\ntenant = "{tenant}"\n']
    for name, (source, *more) in tables.items():
        lines += [
            f"[guests.{name}]",
            f'wasm = "{guests.build(f"guests/cross/{source}.c")}"',
            f"capabilities = {EVERYTHING!r}",
            *more,
        ]
    path = folder / f"{tenant}.toml"
    path.write_text("\n".join(lines))
    return manifest.load(path)


def ask(host, tenant, caller, callee, entry):
    text = f"call|{callee}|{entry}|hi".encode()
    return host.call(caller, text, tenant=tenant, entry=ENTRY[caller]).partition(b"|")[2]


def test_provides_and_consumes_decide(empty, tmp_path):
    application.load(
        empty, write(tmp_path, "shop", wasi=["wasi", 'provides = ["_start"]'], grafos=["grafos"], ark=["ark"],
                     faasm=["faasm", 'consumes = ["wasi", "ark/answer"]'])
    )  # fmt: skip
    application.load(
        empty, write(tmp_path, "street", faasm=["faasm", 'consumes = ["shop:wasi/_start"]'], ark=["ark"])
    )
    assert ask(empty, "shop", "faasm", "wasi", "_start") == b"wasi:hi"
    assert ask(empty, "shop", "faasm", "ark", "answer") == b"ark:hi"
    assert b"no guest named" in ask(empty, "shop", "faasm", "grafos", "tasklet_run")
    assert ask(empty, "shop", "ark", "grafos", "tasklet_run") == b"grafos:hi"
    assert ask(empty, "street", "faasm", "shop:wasi", "_start") == b"wasi:hi"
    assert b"no guest named" in ask(empty, "street", "faasm", "shop:ark", "answer")
    assert ask(empty, "street", "ark", "shop:wasi", "_start") == b""


def test_consuming_what_nobody_provides_is_refused(tmp_path):
    with pytest.raises(errors.ManifestError, match="no guest provides 'nobody/answer'"):
        write(tmp_path, "shop", ark=["ark", 'consumes = ["nobody/answer"]'])


def test_entry_and_arguments_of_a_manifest_reach_the_guest(empty, tmp_path):
    (tmp_path / "x.wat").write_text(
        '(module (func (export "_start")) (func (export "five") (result i32) (i32.const 5)))'
    )
    path = tmp_path / "guesthouse.toml"
    path.write_text('[app]\nname = "x"\n[guests.x]\nwasm = "x.wat"\nentry = "five"\nargs = ["a"]\n')
    application.load(empty, manifest.load(path))
    assert empty.invoke("x").code == 5
