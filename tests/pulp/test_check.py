"""``guesthouse check``: what cells need is told before anything runs (spec/pulp.md 8.9)."""

from __future__ import annotations

import hashlib
import json

import pytest
from tests.pulp import folders

from guesthouse.cli import main
from guesthouse.testing.guests import wat


def checked(capsys, *paths) -> tuple[int, list[dict]]:
    code = main(["check", "--json", *map(str, paths)])
    return code, json.loads(capsys.readouterr().out)


def test_a_cell_that_lacks_nothing_is_fine(tmp_path, build, capsys) -> None:
    path = folders.cell(tmp_path, "web", build("echo.c"), capabilities=["transport.http.inbound"])
    code, (report,) = checked(capsys, path)
    assert (code, report["problems"], report["notes"]) == (0, [], [])
    assert {each["name"]: each["status"] for each in report["imports"]} == {
        "http_register": "granted",
        "http_respond": "granted",
    }
    assert len(report["sha256"]) == 64


def test_what_is_not_declared_or_not_used_is_told(tmp_path, build, capsys) -> None:
    path = folders.cell(tmp_path, "web", build("echo.c"), capabilities=["storage.fs", "transport.sse"])
    code, (report,) = checked(capsys, path)
    assert code == 0
    assert report["notes"] == [
        "http_register, http_respond will answer 99: 'transport.http.inbound' is not declared",
        "'storage.fs' is declared, but nothing of it is imported",
        "'transport.sse' is declared, but nothing of it is imported",
        "'transport.sse' works only together with 'transport.http.inbound'; declare that as well",
    ]
    assert report["imports"][0]["status"] == "denied: answers 99"


def test_a_digest_of_a_cell_by_itself_is_compared_and_told(
    tmp_path, build, capsys, application, caplog
) -> None:
    def told(digest: str) -> dict:
        path = folders.cell(
            tmp_path, "web", build("echo.c"), capabilities=["transport.http.inbound"], wasm_sha256=digest
        )
        code, (report,) = checked(capsys, path)
        assert code == 0
        return report

    other = "ab" * 32
    report = told(other)
    assert report["notes"] == [
        f"wasm_sha256 names another module, {other}; an application would refuse this one"
    ]
    assert told(report["sha256"])["notes"] == []
    caplog.clear()
    kit = {"wasm": "kit.c", "name": "kit"}
    app = application(
        {**kit, "wasm_sha256": "SHA256:" + _digest(build("kit.c"))},
        {**kit, "name": "odd", "wasm_sha256": other},
    )
    assert {row["state"] for row in app.runtime.status()} == {"ready"}
    assert caplog.text.count("module is not the one that its manifest names") == 1
    assert "cell=odd" in caplog.text


def _digest(path) -> str:
    return hashlib.sha256(path.read_bytes()).hexdigest()


BROKEN = """
(module
  (import "pulp" "http_register" (func (param i32) (result i32)))
  (import "pulp" "teleport" (func))
  (import "env" "printf" (func (param i32 i32) (result i32)))
  (memory (export "memory") 1)
  (func (export "pulp_step") (param i32 i32) (result i32) i32.const 0))
"""


def test_everything_that_keeps_a_cell_from_loading_is_told_at_once(tmp_path, capsys) -> None:
    (tmp_path / "broken.wasm").write_bytes(wat(BROKEN))
    path = folders.cell(tmp_path, "broken", tmp_path / "broken.wasm", capabilities=["storage.sqlight"])
    code, (report,) = checked(capsys, path)
    assert code == 125
    text = "\n".join(report["problems"])
    for part in (
        'declares unknown capability "storage.sqlight"; did you mean "storage.sqlite"?',
        "missing required exports: [pulp_init pulp_shutdown]",
        "import pulp.http_register has type (i32) -> i32; this host offers (i32, i32) -> i32",
        "import pulp.teleport (function) is offered by nobody here",
        "import env.printf (function) is offered by nobody here",
    ):
        assert part in text
    assert "it does not export pulp_alloc" in "\n".join(report["notes"])


@pytest.mark.parametrize("content", [b"", b"not wasm", b"\0asm\1\0\0\0\x01\xff", None])
def test_an_unreadable_module_is_a_problem_of_its_cell_only(tmp_path, build, capsys, content) -> None:
    if content is not None:
        (tmp_path / "bad.wasm").write_bytes(content)
    code, reports = checked(
        capsys,
        folders.cell(tmp_path, "bad", tmp_path / "bad.wasm"),
        folders.cell(tmp_path, "good", build("kit.c")),
    )
    assert code == 125
    assert len(reports[0]["problems"]) == 1
    assert reports[1]["problems"] == []


def test_applications_and_hosts_are_checked_with_all_their_cells(tmp_path, build, capsys) -> None:
    (tmp_path / "shop").mkdir()
    cells = [folders.cell(tmp_path / "shop", name, build("kit.c")) for name in ("lead", "worker")]
    app = folders.application(
        tmp_path / "shop", "shop", cells, placements=[{"cell": "worker", "instances": 2}]
    )
    assert [each["cell"] for each in checked(capsys, app)[1]] == ["lead", "worker@1", "worker@2"]
    host = folders.host(tmp_path, [{"id": "shop"}])
    assert [each["cell"] for each in checked(capsys, host)[1]] == [
        "shop/shop-1/lead", "shop/shop-1/worker@1", "shop/shop-1/worker@2",
    ]  # fmt: skip


def test_manifests_that_do_not_fit_are_refused_with_file_and_key(tmp_path, build, capsys) -> None:
    path = folders.cell(tmp_path, "a", build("kit.c"), depends_on=["ghost"])
    assert main(["check", str(path)]) == 125
    err = capsys.readouterr().err
    assert "a.cell.toml" in err
    assert "depends_on" in err
    assert main(["check"]) == 125


def test_people_get_a_table_and_the_problems(tmp_path, build, capsys) -> None:
    path = folders.cell(tmp_path, "web", build("echo.c"))
    assert main(["check", str(path)]) == 0
    said = capsys.readouterr()
    assert "http_register" in said.out
    assert "'transport.http.inbound' is not declared" in said.err
