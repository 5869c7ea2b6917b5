"""Sets of cell manifests (spec/pulp.md 4.2, acceptance case 7)."""

from __future__ import annotations

from pathlib import Path

import pytest

from guesthouse.errors import ManifestError
from guesthouse.interfaces.pulp.manifest import CellManifest, boot_order, load_batch


def cell(name: str, **keys: tuple[str, ...]) -> CellManifest:
    return CellManifest(path=Path(f"{name}.toml"), name=name, version="1", wasm=Path("x.wasm"), **keys)  # type: ignore[arg-type]


def order(*cells: CellManifest, strict: bool = False) -> list[str]:
    return [each.name for each in boot_order(cells, strict_links=strict)]


def test_case_07_boot_order_follows_depends_on_even_with_mutual_consumes() -> None:
    a = cell("a", depends_on=("b",), consumes=("b.api",), provides=("a.api",))
    b = cell("b", consumes=("a.api",), provides=("b.api",))
    assert order(a, b) == ["b", "a"]
    assert order(a, b, strict=True) == ["b", "a"]


def test_equals_keep_their_order_of_declaration() -> None:
    assert order(cell("z"), cell("m"), cell("a", depends_on=("z",)), cell("b")) == ["z", "m", "b", "a"]


def test_case_07_a_missing_provider_is_rejected_by_both_rules() -> None:
    for strict in (False, True):
        with pytest.raises(ManifestError, match="no cell provides that exact provider") as caught:
            order(cell("a", consumes=("ghost",)), cell("b"), strict=strict)
        assert caught.value.key == "consumes"


def test_a_cell_name_alone_counts_as_provider_only_in_the_older_rule() -> None:
    cells = cell("a", consumes=("b",)), cell("b")
    assert order(*cells) == ["a", "b"]
    with pytest.raises(ManifestError, match="no cell provides"):
        order(*cells, strict=True)


def test_case_07_ambiguous_providers_are_rejected_by_the_later_rule() -> None:
    cells = cell("a", consumes=("x",)), cell("b", provides=("x",)), cell("c", provides=("x",))
    assert order(*cells) == ["a", "b", "c"]
    with pytest.raises(ManifestError, match=r"ambiguous providers \(b, c\)"):
        order(*cells, strict=True)


@pytest.mark.parametrize(
    ("cells", "message"),
    [
        ((), "no manifests"),
        ((cell("a", depends_on=("a",)),), "depends on itself"),
        ((cell("a", depends_on=("b",)),), "depends on 'b', which is not among the manifests"),
        (
            (cell("a", depends_on=("b",)), cell("b", depends_on=("a",)), cell("c")),
            "dependency cycle involving: a, b",
        ),
    ],
)
def test_sets_that_do_not_fit_together(cells: tuple[CellManifest, ...], message: str) -> None:
    with pytest.raises(ManifestError, match=message):
        boot_order(cells)


def test_a_duplicate_name_names_both_files(tmp_path: Path) -> None:
    for file in ("one.toml", "two.toml"):
        (tmp_path / file).write_text("name = 'same'\nversion = '1'")
    with pytest.raises(ManifestError, match=r"duplicate cell name 'same': declared by .*one.toml and .*two"):
        load_batch([tmp_path / "one.toml", tmp_path / "two.toml"])
