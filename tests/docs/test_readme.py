"""What the README and the guides show is what happens: commands and code run as they stand."""

from __future__ import annotations

import ast
import re
import shlex
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
README = (ROOT / "README.md").read_text()
MARK = "=====next command====="


#: Pages whose code runs as it stands; that of the others is parts of a program.
WHOLE = [README, (ROOT / "docs" / "wasix.md").read_text()]
PAGES = sorted({*ROOT.glob("*.md"), *ROOT.glob("docs/*.md")})


def blocks(language, text=README):
    return re.findall(rf"^```{language}\n(.*?)^```$", text, re.MULTILINE | re.DOTALL)


def commands():
    """Every command of the console blocks with the output shown below it; what make does is tested elsewhere."""
    found = []
    for line in "\n".join(blocks("console")).splitlines():
        if line.startswith("$ "):
            found.append((line[2:], []))
        elif line:
            found[-1][1].append(line)
    return [(command, shown) for command, shown in found if not command.startswith("make")]


@pytest.mark.slow
@pytest.mark.parametrize("code", [code for page in WHOLE for code in blocks("python", page)])
def test_code_runs(code):
    done = subprocess.run([sys.executable, "-c", code], cwd=ROOT, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr


@pytest.mark.slow
def test_commands_print_what_is_shown():
    python = shlex.quote(sys.executable)
    script = [f'python() {{ {python} "$@"; }}', f'guesthouse() {{ {python} -m guesthouse.cli "$@"; }}']
    for command, _ in commands():
        script += [command, f"echo; echo {MARK}"]
    done = subprocess.run(
        ["bash", "-c", "\n".join(script)],
        cwd=ROOT,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
        check=False,
    )
    assert commands()
    for (command, shown), printed in zip(commands(), done.stdout.split(MARK), strict=False):
        for line in shown:
            assert line in printed.splitlines(), f"$ {command}\n{printed}"


@pytest.mark.parametrize("path", PAGES, ids=lambda path: path.name)
def test_code_is_python(path):
    for code in blocks("python", path.read_text()):
        ast.parse(code)


@pytest.mark.parametrize("path", PAGES, ids=lambda path: path.name)
def test_links_lead_somewhere(path):
    for target in re.findall(r"\]\(([^)#]+)[^)]*\)", path.read_text()):
        if "://" not in target:
            assert (path.parent / target).exists(), target
