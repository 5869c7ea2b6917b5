;; Exports that must not be launched, functions that tell how they were called, and no ark_alloc.
(module
  (import "ark-core-v0" "core__return_slice" (func $return (param i32 i32 i32) (result i32)))
  (memory (export "memory") 1)
  (global (export "constant") i32 (i32.const 7))
  (func (export "nullary") (result i32) (i32.const 0))
  (func (export "wide") (param i64 i32) (result i32) (i32.const 0))
  (func (export "echo") (param i32 i32) (result i32)
    (drop (call $return (local.get 0) (local.get 1) (local.get 1)))
    (i32.const 0))
  ;; returns its two arguments as 8 bytes
  (func (export "arguments") (param i32 i32) (result i32)
    (i32.store (i32.const 0) (local.get 0))
    (i32.store (i32.const 4) (local.get 1))
    (drop (call $return (i32.const 0) (i32.const 8) (i32.const 8)))
    (i32.const 0))
  ;; hands over a slice that is outside of memory; returns what the host answered as 4 bytes
  (func (export "outside") (param i32 i32) (result i32)
    (i32.store (i32.const 0) (call $return (i32.const 0xfffffff0) (i32.const 16) (i32.const 32)))
    (drop (call $return (i32.const 0) (i32.const 4) (i32.const 4)))
    (i32.const 0)))
