;; A cell of the first generation: sqlite_exec and fs_write with four parameters.
;; "exec" runs its argument as SQL; "write" writes a file that holds its own path. Both answer with the code.
(module
  (import "pulp" "sqlite_exec" (func $exec (param i32 i32 i32 i32) (result i32)))
  (import "pulp" "fs_write" (func $write (param i32 i32 i32 i32) (result i32)))
  (memory (export "memory") 2)
  (func (export "pulp_alloc") (param i32) (result i32) (i32.const 4096))
  (func (export "pulp_init") (param i32 i32) (result i32) (i32.const 0))
  (func (export "pulp_step") (param i32 i32) (result i32) (i32.const 0))
  (func (export "pulp_shutdown") (result i32) (i32.const 0))
  (func (export "pulp_on_call") (param $name i32) (param i32) (param $args i32) (param $len i32) (param $out i32) (param $out_len i32) (result i32)
    (i32.store (i32.const 1024)
      (if (result i32) (i32.eq (i32.load8_u (local.get $name)) (i32.const 101)) ;; 'e'
        (then (call $exec (local.get $args) (local.get $len) (i32.const 0) (i32.const 0)))
        (else (call $write (local.get $args) (local.get $len) (local.get $args) (local.get $len)))))
    (i32.store (local.get $out) (i32.const 1024))
    (i32.store (local.get $out_len) (i32.const 4))
    (i32.const 0)))
