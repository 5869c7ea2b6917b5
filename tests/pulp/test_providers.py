"""Whose capability a cell gets (spec/pulp.md 5.9, acceptance case 22)."""

from __future__ import annotations

import pytest

from guesthouse import Registry, capability, host_function, i32
from guesthouse.errors import ManifestError
from guesthouse.interfaces.pulp.providers import ProviderError
from guesthouse.interfaces.pulp.serving import with_strangers


def greeter(provider: str, seen: list[str], **hooks):
    @host_function(name="demo_greet", module="pulp")
    def greet(call, text: bytes) -> i32:
        """Greet."""
        seen.append(f"{provider}:{call.cell.name}")
        return 0

    return capability("demo.greet", greet, provider=provider, **hooks)


@pytest.fixture
def greeting(application, build):
    """Starts a cell that greets at its initialisation; returns the runtime."""

    def start(*others, **keys):
        table = {"wasm": "greeter.c", "name": "g", "capabilities": ["demo.greet"], **keys}
        app = application(table, run=False)
        app.runtime.registry.gated(*others)
        app.runtime.start()
        return app.runtime

    return start


def pin(provider: str) -> dict:
    return {"capability_providers": {"demo.greet": provider}}


def test_case_22_a_unique_capability_needs_no_pin(greeting, capfd) -> None:
    greeting(config={"name": "world"})
    assert "[demo.greet] cell=g" in capfd.readouterr().out


@pytest.mark.parametrize("provider", ["acme", "zeta", "guesthouse"])
def test_case_22_duplicates_are_told_apart_by_an_exact_pin(greeting, capfd, provider) -> None:
    seen: list[str] = []
    greeting(greeter("acme", seen), greeter("zeta", seen), config={"name": "world"}, **pin(provider))
    assert seen == ([] if provider == "guesthouse" else [f"{provider}:g"])
    assert ("[demo.greet]" in capfd.readouterr().out) == (provider == "guesthouse")


def test_only_the_provider_that_is_pinned_is_set_up(greeting) -> None:
    log: list[str] = []
    acme = greeter("acme", [], setup=lambda _: log.append("acme"), teardown=lambda: log.append("-acme"))
    zeta = greeter("zeta", [], setup=lambda _: log.append("zeta"))
    runtime = greeting(acme, zeta, config={"name": "world"}, **pin("acme"))
    runtime.stop()
    assert log == ["acme", "-acme"]


def test_case_22_duplicates_without_a_pin_fail_and_name_the_choices(greeting) -> None:
    with pytest.raises(Exception, match=r"which several offer \(guesthouse, acme\).*pin one"):
        greeting(greeter("acme", []))


@pytest.mark.parametrize("keys", [pin("Acme"), pin("acme "), pin("nobody")])
def test_case_22_a_wrong_pin_fails(greeting, keys) -> None:
    if keys["capability_providers"]["demo.greet"].strip() == "acme":  # blanks around a name are none of it
        seen: list[str] = []
        greeting(greeter("acme", seen), config={"name": "w"}, **keys)
        assert seen
        return
    with pytest.raises(Exception, match=r"unknown provider '\w+'; it is offered by guesthouse, acme"):
        greeting(greeter("acme", []), **keys)


def test_case_22_a_pin_for_what_is_not_declared_fails(greeting) -> None:
    with pytest.raises(Exception, match="pins a provider for 'storage.sqlite', which it does not declare"):
        greeting(capability_providers={"storage.sqlite": "guesthouse"})


def test_case_22_a_doubled_pin_fails(application) -> None:
    with pytest.raises(ManifestError, match="pinned more than once"):
        application(
            {
                "wasm": "greeter.c",
                "capabilities": ["demo.greet"],
                "capability_providers": {"demo.greet": "acme", "Demo.Greet": "zeta"},
            }
        )


def test_two_of_one_provider_or_of_none_are_refused_when_registered() -> None:
    registry = Registry().gated(greeter("acme", []))
    for again in ("acme", ""):
        with pytest.raises(ValueError, match="registered already"):
            registry.gated(greeter(again, []))
    assert [each.provider for each in registry.gated(greeter("zeta", [])).offers("demo.greet")] == [
        "acme",
        "zeta",
    ]
    assert [each.provider for each in registry.choosing({"demo.greet": "zeta"})] == ["zeta"]
    with pytest.raises(KeyError):
        registry.choosing({"demo.greet": "nobody"})


def test_installed_packages_bring_new_capabilities_and_rivals(application) -> None:
    app = application({"wasm": "kit.c"})
    own = app.catalogue.registry()
    before = {each.name for each in own}
    known = Registry().always(capability("pulp", module="pulp", interface="pulp"))
    known.gated(
        greeter("acme", []),
        capability("storage.sqlite", interface="pulp"),  # the table's own row: no provider
        capability("storage.fs", interface="pulp", provider="guesthouse"),  # cannot be told from ours
        capability("acme.mail", interface="pulp"),
        capability("wasi.files", interface="wasi"),
    )
    with_strangers(own, known)
    assert {each.name for each in own} - before == {"acme.mail"}
    assert [each.provider for each in own.offers("demo.greet")] == ["guesthouse", "acme"]
    assert len(own.offers("storage.sqlite")) == len(own.offers("storage.fs")) == 1


def test_the_error_says_what_is_offered(greeting) -> None:
    with pytest.raises(Exception) as caught:
        greeting(**pin("nobody"))
    cause = caught.value.__cause__ or caught.value
    found = cause if isinstance(cause, ProviderError) else None
    assert "it is offered by guesthouse" in str(caught.value)
    assert found is None or found.known == ("guesthouse",)
