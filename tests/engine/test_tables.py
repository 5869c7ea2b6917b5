"""Functions by table index."""

from __future__ import annotations

import pytest

from guesthouse.engine import Engine, wat_to_wasm
from guesthouse.engine.tables import invoke_at, signature_at
from guesthouse.errors import Trap

MODULE = wat_to_wasm("""(module
  (table (export "__indirect_function_table") 5 8 funcref)
  (elem (i32.const 1) $double $nothing $mixed)
  (func $double (param i32) (result i32) (i32.mul (local.get 0) (i32.const 2)))
  (func $nothing unreachable)
  (func $mixed (param i64 f32) (result f64) (f64.const 1.5)))""")


def test_functions_are_called_by_their_index() -> None:
    instance = Engine(cache=False).compile(MODULE).link({}).open()
    with instance:
        instance.start()
        assert signature_at(instance, 1) == ("i", "i")
        assert signature_at(instance, 2) == ("", "")
        assert signature_at(instance, 3) == ("If", "F")
        assert invoke_at(instance, 1, -21) == 2**32 - 42
        assert invoke_at(instance, 3, 1, 2.0) == 1.5
        for nothing in (0, 4, 5, 7, 2**31, 2**32 - 1, 2**32, -1, 2**64):
            assert signature_at(instance, nothing) is None
            with pytest.raises(IndexError):
                invoke_at(instance, nothing)
        with pytest.raises(TypeError):
            invoke_at(instance, 1)
        with pytest.raises(Trap, match="unreachable"):
            invoke_at(instance, 2)


def test_modules_without_an_exported_table_have_none() -> None:
    with Engine(cache=False).compile(wat_to_wasm("(module (table 1 funcref))")).link({}).open() as instance:
        instance.start()
        assert signature_at(instance, 0) is None
