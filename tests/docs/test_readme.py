"""What the README shows is what happens: its commands and its code run as they stand."""

from __future__ import annotations

import re
import shlex
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
README = (ROOT / "README.md").read_text()
MARK = "=====next command====="


def blocks(language):
    return re.findall(rf"^```{language}\n(.*?)^```$", README, re.MULTILINE | re.DOTALL)


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
@pytest.mark.parametrize("code", blocks("python"), ids=lambda code: code.split("\n", 1)[0])
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


@pytest.mark.parametrize(
    "path", sorted({*ROOT.glob("*.md"), *ROOT.glob("docs/*.md")}), ids=lambda path: path.name
)
def test_links_lead_somewhere(path):
    for target in re.findall(r"\]\(([^)#]+)[^)]*\)", path.read_text()):
        if "://" not in target:
            assert (path.parent / target).exists(), target
