"""Programs that use many parts of the interface together, as somebody from outside would write them."""

from __future__ import annotations

import pytest

from guesthouse import Limits
from guesthouse.testing import guests

TEXT = b"the quick brown fox jumps over the lazy dog and the fox sleeps; " * 400


@pytest.fixture
def program(load):
    def program(name, **options):
        options.setdefault("limits", Limits(wall="30s", memory="256MiB"))
        return load(name, guests.build(f"guests/faasm/{name}.c"), **options)

    return program


@pytest.mark.parametrize("mappers", [1, 5, 16])
def test_words_are_mapped_and_reduced_over_state_and_files(program, host, mappers):
    guest, state = program("histogram"), host.service("state")
    state.put("default", b"corpus", TEXT)
    for _ in range(2):  # every job clears what the one before has left
        assert guest.call(b"%d" % mappers) == b"the=1200 fox=800 and=400"
    tree = host.service("files").tree("default")
    assert tree.get("jobs/histogram/notes.txt") == b"begun\nreduced\n"
    assert len(list((tree.root / "tmp" / "parts").iterdir())) >= mappers
    assert host.submit("histogram", b"4").result(60).unwrap() == b"the=1200 fox=800 and=400"


@pytest.fixture
def filters(program, host):
    tree = host.service("files").tree("default").root
    (tree / "lib" / "filters").mkdir(parents=True)
    for name in ("upper", "quote"):
        (tree / "lib" / "filters" / f"{name}.so").write_bytes(guests.load(f"guests/faasm/filter_{name}.c"))
    (tree / "text").write_bytes(b"some words")
    return program("filters")


@pytest.mark.parametrize(
    ("names", "output"),
    [
        (b"", b"some words||0"),
        (b" upper", b"SOME WORDS|upper;|1"),
        (b" upper upper", b"SOME WORDS|upper;upper again;|2"),
        (b" upper quote", b'"SOME WORDS"|upper;quote 9;|2'),
        (b" upper quote upper quote", b'""SOME WORDS""|upper;quote 9;upper again;quote 9;|4'),
        (b" absent", b"cannot load: /lib/filters/absent.so: there is no such library"),
    ],
)
def test_text_goes_through_filters_that_come_as_libraries(filters, names, output):
    for _ in range(2):
        assert filters.call(b"/text" + names) == output


def test_a_filter_that_needs_another_one_first_says_so(filters):
    result = filters.invoke(b"/text quote")
    assert "a library needs count, which nobody has" in str(result.error)


def test_a_pool_of_threads_does_all_jobs(program):
    guest = program("pool")
    for _ in range(3):
        assert guest.call() == b"40 jobs, 3 freed, bounded"


@pytest.mark.parametrize("snapshot", [False, True])
def test_case_reset_every_call_finds_the_same(load, host, snapshot):
    """After pointers into state, libraries, files, prints and locks of the calls before it."""
    tree = host.service("files").tree("default").root
    (tree / "lib").mkdir(exist_ok=True)
    (tree / "lib" / "one.so").write_bytes(guests.load("guests/faasm/lib_one.c"))
    guest = load("reset_check", guests.build("guests/faasm/reset_check.c"), snapshot=snapshot)
    first = guest.call()
    assert first.split()[0] == b"11" and first.split()[4:7] == [b"0", b"2", b"40"]
    assert first.endswith(b"unset 0")
    assert [guest.call() for _ in range(10)] == [first] * 10
    assert {guest.submit().result(20).unwrap() for _ in range(10)} == {first}
    assert host.service("state").get("default", b"kept") == bytes([4]) * 70000  # values are not reset
