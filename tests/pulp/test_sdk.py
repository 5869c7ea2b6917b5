"""``sdk/pulp.h`` and the guest that tests look through know every import of this host."""

from __future__ import annotations

from guesthouse.engine import read
from guesthouse.interfaces.pulp.catalogue import Catalogue


def test_the_header_declares_every_import_in_its_latest_form(build) -> None:
    offered: dict[str, str] = {}
    for extension in Catalogue().extensions:
        for row in extension.rows():  # where there are two generations, the later one has more parameters
            offered[row.name] = max(offered.get(row.name, ""), row.params, key=len)
    info = read(build("any.c").read_bytes())
    assert {item.name: item.params for item in info.imports if item.module == "pulp"} == offered
