"""The demonstration does what it says, on a file that the user names and on none."""

from __future__ import annotations

import json
import re
import signal
import subprocess
import sys
import time
import urllib.request
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
COMMAND = [sys.executable, "demo/demo.py"]


def demo(*arguments):
    return subprocess.run(
        [*COMMAND, *map(str, arguments)],
        cwd=ROOT,
        capture_output=True,
        text=True,
        check=False,
    )


@pytest.mark.slow
def test_a_file_goes_through_c_and_go_and_comes_back_counted(tmp_path):
    file = tmp_path / "text.txt"
    file.write_text("guests and hosts\nhosts and guests\nguests\n")
    done = demo(file)
    assert done.returncode == 0, done.stderr
    answer = json.loads(re.search(r"^\{.*^\}", done.stdout, re.MULTILINE | re.DOTALL)[0])
    assert (answer["bytes"], answer["lines"], answer["words"]) == (len(file.read_text()), 3, 7)
    assert answer["most frequent"][0] == {"word": "guests", "times": 3}
    assert "you are visitor 2" in done.stdout
    assert f"3       {len(file.read_text())} /data/text.txt" in done.stdout
    assert "what the calls cost" in done.stdout
    assert "1. guests                     3" in done.stdout  # the report of the tour through five interfaces
    assert "read back after a restart: the same" in done.stdout


def test_a_missing_file_is_named(tmp_path):
    done = demo(tmp_path / "nothing.txt")
    assert done.returncode == 2
    assert "nothing.txt" in done.stderr and "Traceback" not in done.stderr


@pytest.mark.slow
def test_serving_goes_on_until_interrupted():
    running = subprocess.Popen([*COMMAND, "--serve"], cwd=ROOT, stdout=subprocess.PIPE, text=True)
    try:
        lines = iter(running.stdout.readline, "")
        url = next(found[0] for line in lines if (found := re.search(r"http://[\w.:]+/summary", line)))
        assert any("still serving" in line for line in lines)
        with urllib.request.urlopen(url, data=b"one two", timeout=10) as answer:
            assert json.load(answer)["words"] == 2
        time.sleep(0.1)
        assert running.poll() is None
        running.send_signal(signal.SIGINT)
        assert running.wait(30) == 0
    finally:
        if running.poll() is None:
            running.kill()
        running.wait()
        running.stdout.close()
