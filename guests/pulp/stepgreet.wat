;; Calls demo_greet in every step.
(module
  (import "pulp" "demo_greet" (func $greet (param i32 i32) (result i32)))
  (memory (export "memory") 1)
  (data (i32.const 16) "step")
  (func (export "pulp_alloc") (param i32) (result i32) (i32.const 1024))
  (func (export "pulp_init") (param i32 i32) (result i32) (i32.const 0))
  (func (export "pulp_step") (param i32 i32) (result i32) (call $greet (i32.const 16) (i32.const 4)))
  (func (export "pulp_shutdown") (result i32) (i32.const 0)))
