;; Its ark_initialize panics: the text goes to the host, then it traps.
(module
  (import "ark-core-v2" "core__register_panic" (func $panic (param i32 i32 i32 i32 i32 i32) (result i32)))
  (memory (export "memory") 1)
  (data (i32.const 16) "no configuration")
  (data (i32.const 64) "src/main.rs")
  (func (export "ark_initialize")
    (drop (call $panic (i32.const 16) (i32.const 16) (i32.const 64) (i32.const 11) (i32.const 3) (i32.const 9)))
    unreachable)
  (func (export "echo") (param i32 i32) (result i32) (i32.const 0)))
