"""The set-up script: what it refuses, what it takes for a compiler, and that it repeats nothing."""

from __future__ import annotations

import importlib.util
import platform
import shutil
import subprocess
import sysconfig
from pathlib import Path

import pytest

SCRIPT = Path(__file__).parents[2] / "scripts" / "install.py"


@pytest.fixture
def install():
    spec = importlib.util.spec_from_file_location("install", SCRIPT)
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


@pytest.mark.parametrize(
    ("system", "machine"), [("Darwin", "arm64"), ("Windows", "AMD64"), ("Linux", "i686")]
)
def test_another_platform_is_refused_in_one_sentence(install, monkeypatch, system, machine):
    monkeypatch.setattr(platform, "system", lambda: system)
    monkeypatch.setattr(platform, "machine", lambda: machine)
    with pytest.raises(SystemExit) as caught:
        install.check_platform()
    message = str(caught.value.code)
    assert system in message and machine in message and "\n" not in message


def test_another_python_is_refused_when_no_other_is_there(install, monkeypatch):
    monkeypatch.setattr(install.sys, "version_info", (3, 9, 1))
    monkeypatch.setattr(shutil, "which", lambda name: None)
    with pytest.raises(SystemExit, match=r"needs Python 3\.11 to 3\.13"):
        install.check_python()


@pytest.mark.parametrize(
    ("version", "good"), [((3, 10, 9), False), ((3, 11, 0), True), ((3, 13, 2), True), ((3, 14, 0), False)]
)
def test_versions_that_suit(install, version, good):
    assert install.suits(version) is good


def test_a_compiler_that_is_named_or_there_is_taken(install, monkeypatch):
    monkeypatch.setenv("CC", "my-cc")
    assert install.compiler()["CC"] == "my-cc"
    monkeypatch.delenv("CC")
    configured = (sysconfig.get_config_var("CC") or "cc").split()[0]
    monkeypatch.setattr(shutil, "which", lambda name: f"/bin/{name}" if name == configured else None)
    assert "LDSHARED" not in install.compiler()
    monkeypatch.setattr(
        shutil, "which", lambda name: f"/bin/{name}" if name == "clang" != configured else None
    )
    assert install.compiler()["LDSHARED"] == "clang -shared"


def test_without_a_compiler_zig_is_wrapped(install, monkeypatch, tmp_path):
    monkeypatch.delenv("CC", raising=False)
    monkeypatch.setattr(shutil, "which", lambda name: None)
    monkeypatch.setattr(install, "ZIG_CC", tmp_path / "zig-cc")
    monkeypatch.setattr(install, "PYTHON", install.sys.executable)
    monkeypatch.setattr(install, "pip", lambda *arguments, **_: True)
    environment = install.compiler()
    source = tmp_path / "answer.c"
    source.write_text("int answer(void) { return 42; }")
    built = subprocess.run([*environment["LDSHARED"].split(), "-o", tmp_path / "a.so", source], check=False)
    assert built.returncode == 0
    assert (tmp_path / "a.so").read_bytes().startswith(b"\x7fELF")


def test_without_a_compiler_and_without_zig_there_is_one_sentence(install, monkeypatch, tmp_path):
    monkeypatch.delenv("CC", raising=False)
    monkeypatch.setattr(shutil, "which", lambda name: None)
    monkeypatch.setattr(install, "ZIG_CC", tmp_path / "zig-cc")
    monkeypatch.setattr(install, "pip", lambda *arguments, **_: False)
    with pytest.raises(SystemExit, match="needs a C compiler"):
        install.compiler()


def test_a_step_is_due_until_its_stamp_names_what_is_there(install, tmp_path):
    source, stamp = tmp_path / "source", tmp_path / "stamp"
    source.write_text("one")
    assert install.due(stamp, install.digest([source]))
    stamp.write_text(install.digest([source]))
    assert not install.due(stamp, install.digest([source]))
    source.write_text("two")
    assert install.due(stamp, install.digest([source]))


def test_groups_are_read_with_their_includes(install):
    groups = {"a": ["x>=1"], "b": ["y", {"include-group": "a"}]}
    assert install.requirements("b", groups) == ["y", "x>=1"]
