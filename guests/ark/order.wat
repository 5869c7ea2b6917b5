;; Records in which order the host calls its exports: `order` returns one letter per call.
(module
  (import "ark-core-v0" "core__return_slice" (func $return (param i32 i32 i32) (result i32)))
  (memory (export "memory") 1)
  (global $n (mut i32) (i32.const 0))
  (func $note (param i32)
    (i32.store8 (global.get $n) (local.get 0))
    (global.set $n (i32.add (global.get $n) (i32.const 1))))
  (func $start (call $note (i32.const 0x73)))                                      ;; s
  (start $start)
  (func (export "_initialize") (call $note (i32.const 0x69)))                      ;; i
  (func (export "ark_register_panic_hook") (call $note (i32.const 0x70)))          ;; p
  (func (export "ark_initialize") (call $note (i32.const 0x49)))                   ;; I
  (func (export "ark_alloc") (param i32 i32) (result i32) (call $note (i32.const 0x61)) (i32.const 4096)) ;; a
  (func (export "ark_free") (param i32 i32 i32) (call $note (i32.const 0x66)))     ;; f
  (func (export "order") (param i32 i32) (result i32)
    (drop (call $return (i32.const 0) (global.get $n) (global.get $n)))
    (i32.const 0)))
