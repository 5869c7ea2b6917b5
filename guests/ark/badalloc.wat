;; ark_alloc answers what the module's second export says it must not: every function fails with code 4
;; before it runs. The number of bytes asked for picks the kind of bad answer.
(module
  (import "ark-core-v0" "core__return_slice" (func $return (param i32 i32 i32) (result i32)))
  (memory (export "memory") 1)
  (func (export "ark_alloc") (param i32 i32) (result i32)
    (if (i32.eq (local.get 0) (i32.const 1)) (then (return (i32.const 0))))            ;; none
    (if (i32.eq (local.get 0) (i32.const 2)) (then (return (i32.const 1028))))         ;; misaligned
    (if (i32.eq (local.get 0) (i32.const 3)) (then (return (i32.const 65536))))        ;; outside
    (if (i32.eq (local.get 0) (i32.const 4)) (then (return (i32.const 0xfffffff8))))   ;; far outside
    (i32.const 1024))
  (func (export "echo") (param i32 i32) (result i32)
    (drop (call $return (local.get 0) (local.get 1) (local.get 1)))
    (i32.const 0)))
