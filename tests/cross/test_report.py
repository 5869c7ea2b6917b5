"""The tour of demo/report.py: one text through guests of five interfaces, against the same done in Python."""

from __future__ import annotations

import importlib.util
import re
from collections import Counter

import pytest

from guesthouse.testing import guests

ROOT = guests.root()


@pytest.fixture(scope="module")
def report():
    spec = importlib.util.spec_from_file_location("report", ROOT / "demo" / "report.py")
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


def ranked(text):
    words = (word for word in re.findall("[a-z]+", text.lower()) if 4 <= len(word) <= 40)
    return sorted(Counter(words).items(), key=lambda item: (-item[1], item[0]))[:12]


def listed(lines):
    rows = (line.split() for line in lines.splitlines())
    return [(row[1], int(row[2])) for row in rows]


@pytest.mark.parametrize("name", ["README.md", "LICENSE", "src/guesthouse/host.py"])
def test_a_text_comes_back_as_a_report_and_is_found_again_after_a_restart(report, tmp_path, name):
    text = (ROOT / name).read_bytes()
    watcher = report.Watcher()
    with report.open_host(tmp_path, watcher) as host:
        head, _, body = report.over_http(host, text).partition("\n")
        assert listed(body) == ranked(text.decode("utf-8", "replace"))
        trees = [host.scheduler.graph(root) for root in watcher.roots]
    assert [tree.guest for tree in trees] == ["split", "rank", "layout", "archive"]
    assert [len(tree.children) for tree in trees] == [4, 4, 0, 0]
    assert report.from_blocks(tmp_path, int(head.split()[-1])) == body


def test_called_from_python_it_is_one_tree(report, tmp_path):
    with report.open_host(tmp_path) as host:
        call = host.scheduler.submit("intake", b"some words and some more words", entry="report")
        output = host.scheduler.wait(call, 20).unwrap().decode()
        assert listed(output.partition("\n")[2]) == [("some", 2), ("words", 2), ("more", 1)]
        tree = host.scheduler.graph(call)
        assert [node.guest for node in tree.children] == ["split", "rank", "layout", "archive"]


def test_main_prints_tree_and_report(report, capsys, tmp_path):
    file = tmp_path / "text.txt"
    file.write_text("the quick brown quick brown brown fox\n")
    assert report.main([str(file)]) == 0
    shown = capsys.readouterr().out
    for words in ("intake", "split", "tally", "rank.top", "layout", "archive", "1. brown", "the same"):
        assert words in shown
