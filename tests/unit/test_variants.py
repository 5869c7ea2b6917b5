"""One guest linked in several ways: which form a call gets, and what is kept of the others."""

from __future__ import annotations

import pytest

from guesthouse import Host, Limits, errors, variants
from guesthouse.testing import guests

#: Imports one function that links without its grant, and one that does not.
WAT = """(module
  (import "ark-module-run-v0" "module_run__remove_function" (func $remove (param i64) (result i32)))
  (import "ark-core-v0" "core__return_slice" (func $return (param i32 i32 i32) (result i32)))
  {more}
  (memory (export "memory") 1)
  (func (export "run") (param i32 i32) (result i32) (call $remove (i64.const 1))))"""
STRICT = '(import "env" "__faasm_read_state" (func (param i32 i32 i32) (result i32)))'
RUN = frozenset({"ark.module_run"})


@pytest.fixture
def host():
    with Host(workers=1) as made:
        yield made


@pytest.fixture
def guest(host):
    return host.load(guests.wat(WAT.format(more="")), name="guest", grant=RUN)


def code(host, guest, **options):
    return host.scheduler.run(guest.name, **options).code


def test_the_plain_form_serves_calls_without_a_ceiling(guest):
    forms = guest._variants
    assert forms.form(None, metered=False) is forms.plain
    assert forms.form(RUN, metered=False) is forms.plain
    assert forms.form(RUN | {"other"}, metered=False) is forms.plain
    assert forms.of(forms.plain.template) is forms.plain
    assert forms.of(None) is forms.plain


def test_a_ceiling_takes_capabilities_away(host, guest):
    forms = guest._variants
    less = forms.form(frozenset(), metered=False)
    assert less is not forms.plain
    assert dict(less.denied) == {"ark-module-run-v0.module_run__remove_function": "ark.module_run"}
    assert forms.form(frozenset({"other"}), metered=False) is less
    assert forms.of(less.template) is less
    assert code(host, guest) == 6
    assert code(host, guest, capabilities=frozenset()) == 2


def test_what_cannot_be_linked_with_less_is_refused_when_it_is_called(host):
    guest = host.load(guests.wat(WAT.format(more=STRICT)), name="strict", grant=[*RUN, "faasm.state"])
    assert code(host, guest) == 6
    assert code(host, guest, capabilities=frozenset({"faasm.state"})) == 2
    result = host.scheduler.run("strict", capabilities=RUN)
    assert isinstance(result.error, errors.MissingImports)


def test_a_metered_form_is_compiled_once(host, guest):
    before = host.engine.compilations
    forms = guest._variants
    metered = forms.form(None, metered=True)
    assert metered.metered
    assert not forms.plain.metered
    assert forms.form(RUN, metered=True) is metered
    assert forms.form(frozenset(), metered=True) is not metered
    assert host.engine.compilations - before <= 1


def test_a_guest_that_is_metered_anyway_has_one_form(host):
    guest = host.load(guests.wat(WAT.format(more="")), name="metered", grant=RUN, limits=Limits(fuel=10_000))
    assert guest._variants.form(None, metered=True) is guest._variants.plain


def test_forms_are_bounded(guest, monkeypatch):
    monkeypatch.setattr(variants, "MOST_FORMS", 2)
    forms = guest._variants
    for _ in range(10):
        forms.form(frozenset({"fresh"}), metered=True)
        forms.form(frozenset({"fresh"}), metered=False)
        forms.form(None, metered=True)
        assert len(forms._forms) <= 2
        assert len(forms._recent) <= 2
