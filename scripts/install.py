"""Set the project up in ``.venv``; repeated calls do only what changed.

Runs with any Python 3 and the standard library alone, because nothing else is there yet::

    python3 scripts/install.py [GROUP...]      # dependency groups of pyproject.toml; default: dev
"""

from __future__ import annotations

import hashlib
import os
import platform
import shutil
import subprocess
import sys
import sysconfig
from pathlib import Path
from typing import Any, NoReturn

ROOT = Path(__file__).resolve().parent.parent
VENV = ROOT / ".venv"
PYTHON = VENV / "bin" / "python"
ZIG_CC = VENV / "bin" / "zig-cc"
OLDEST, NEWEST = (3, 11), (3, 13)
MACHINES = {"x86_64", "aarch64"}


def fail(message: str) -> NoReturn:
    """End with one clear sentence."""
    sys.exit(f"guesthouse: {message}")


def say(message: str) -> None:
    """Tell what takes time."""
    print(f"guesthouse: {message}", flush=True)


def check_platform() -> None:
    """Refuse systems that the data plane is not made for."""
    system, machine = platform.system(), platform.machine()
    if system != "Linux" or machine not in MACHINES:
        fail(f"runs on Linux on x86-64 or aarch64 only; this is {system} on {machine}")


def suits(version: tuple[int, ...]) -> bool:
    """Tell whether the project is tested with a Python version."""
    return OLDEST <= version[:2] <= NEWEST


def check_python() -> None:
    """Go on with a Python that suits: this one, or another that is on PATH."""
    if suits(sys.version_info[:2]):
        return
    for minor in range(NEWEST[1], OLDEST[1] - 1, -1):
        other = shutil.which(f"python3.{minor}")
        if other:
            os.execv(other, [other, *sys.argv])
    fail(
        f"needs Python 3.{OLDEST[1]} to 3.{NEWEST[1]}; this is {platform.python_version()}"
        " and no other is on PATH (PYTHON=/path/to/python names one)"
    )


def enter_venv() -> None:
    """Go on inside ``.venv``, creating it where there is none with a working interpreter that suits."""
    if Path(sys.prefix).resolve() == VENV.resolve():
        return
    if PYTHON.exists():
        probe = [str(PYTHON), "-c", "import sys, pip; print(*sys.version_info[:2])"]
        found = subprocess.run(probe, capture_output=True, text=True, check=False)
        if found.returncode != 0 or not suits(tuple(map(int, found.stdout.split()))):
            shutil.rmtree(VENV)
    if not PYTHON.exists():
        say(f"creating .venv with Python {platform.python_version()}")
        command = [sys.executable, "-m", "venv", str(VENV)]
        made = subprocess.run(command, capture_output=True, text=True, check=False)
        if made.returncode != 0:
            shutil.rmtree(VENV, ignore_errors=True)
            fail(f"cannot create .venv (on Debian: apt install python3-venv)\n{made.stdout}{made.stderr}")
    os.execv(PYTHON, [str(PYTHON), str(Path(__file__).resolve()), *sys.argv[1:]])


def extension_sources() -> list[Path]:
    """Return the files that the compiled extensions are made of."""
    found = [path for path in (ROOT / "src").rglob("*") if path.suffix in {".pyx", ".pxd", ".pxi", ".h"}]
    return [ROOT / "setup.py", *sorted(found)]


def extensions_present() -> bool:
    """Tell whether every extension has been built for this interpreter."""
    suffix = sysconfig.get_config_var("EXT_SUFFIX")
    return all(path.with_suffix(suffix).exists() for path in extension_sources() if path.suffix == ".pyx")


def digest(paths: list[Path], *values: object) -> str:
    """Hash the interpreter's version, and the files and values that a step depends on."""
    state = hashlib.sha256(f"{sys.version}{values!r}".encode())
    for path in paths:
        state.update(str(path).encode() + b"\0" + path.read_bytes() + b"\0")
    return state.hexdigest()


def due(stamp: Path, key: str) -> bool:
    """Tell whether a step has to run: it never did, or not for what is there now."""
    return not stamp.exists() or stamp.read_text(encoding="utf-8") != key


def pip(*arguments: str, environment: dict[str, str] | None = None) -> bool:
    """Run pip in the environment; return whether it succeeded, after showing what it said if not."""
    command = [str(PYTHON), "-m", "pip", "--disable-pip-version-check", "-q", *arguments]
    done = subprocess.run(command, cwd=ROOT, env=environment, capture_output=True, text=True, check=False)
    if done.returncode != 0:
        print(done.stdout + done.stderr, file=sys.stderr)
    return done.returncode == 0


def compiler() -> dict[str, str]:
    """Return the environment that builds extensions: the system's C compiler, or zig's from its wheel."""
    configured = (sysconfig.get_config_var("CC") or "cc").split()[0]
    if os.environ.get("CC") or shutil.which(configured):
        return dict(os.environ)
    for name in ("cc", "gcc", "clang"):
        if shutil.which(name):
            return dict(os.environ, CC=name, LDSHARED=f"{name} -shared")
    if not ZIG_CC.exists():
        say("no C compiler found: taking the one in the ziglang wheel")
        if not pip("install", "ziglang>=0.15"):
            fail("needs a C compiler (on Debian: apt install gcc): nor can the ziglang wheel be installed")
        ZIG_CC.write_text(f'#!/bin/sh\nexec "{PYTHON}" -m ziglang cc "$@"\n', encoding="utf-8")
        ZIG_CC.chmod(0o755)
    return dict(os.environ, CC=str(ZIG_CC), LDSHARED=f"{ZIG_CC} -shared")


def requirements(name: str, groups: dict[str, list[str | dict[str, str]]]) -> list[str]:
    """Return what one dependency group asks for (PEP 735), its includes resolved."""
    found: list[str] = []
    for entry in groups[name]:
        found += requirements(entry["include-group"], groups) if isinstance(entry, dict) else [entry]
    return found


def declared() -> dict[str, Any]:
    """Return what ``pyproject.toml`` says, without the configuration of the checks."""
    import tomllib  # new in 3.11; this file also has to start on older ones to say so

    tables = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))
    return {**tables, "tool": tables["tool"]["setuptools"]}


def install_dependencies(name: str, wanted: list[str]) -> None:
    """Install build tools, the project's own dependencies and a group."""
    say(f"installing dependencies ({name})")
    if not pip("install", *wanted):
        fail("the dependencies cannot be installed; pip's own words are above")


def install_project() -> None:
    """Compile the extensions in place and install the package, editable."""
    environment = compiler()
    header = Path(sysconfig.get_path("include")) / "Python.h"
    if not header.exists():
        fail(f"needs Python's C headers, missing is {header} (on Debian: apt install python3-dev)")
    say("compiling the extensions")
    built = pip("install", "--no-build-isolation", "--no-deps", "-e", ".", environment=environment)
    if not built or not extensions_present():
        fail("the extensions cannot be built; the compiler's own words are above")


def main() -> None:
    """Do every step that is due."""
    check_platform()
    check_python()
    enter_venv()
    tables = declared()
    for name in sys.argv[1:] or ["dev"]:
        wanted = tables["build-system"]["requires"] + tables["project"]["dependencies"]
        wanted = wanted + requirements(name, tables["dependency-groups"])
        stamp, key = VENV / f".installed-{name}", digest([], wanted)
        if due(stamp, key):
            install_dependencies(name, wanted)
            stamp.write_text(key, encoding="utf-8")
    stamp = VENV / ".installed-project"
    key = digest(extension_sources(), tables["build-system"], tables["project"], tables["tool"])
    if due(stamp, key) or not extensions_present():
        install_project()
        stamp.write_text(key, encoding="utf-8")


if __name__ == "__main__":
    main()
