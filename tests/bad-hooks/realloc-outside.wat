;; Its allocator gives the host memory that it does not have.
;; ends: trap
(module
  (memory (export "memory") 1)
  (func (export "cabi_realloc") (param i32 i32 i32 i32) (result i32) (i32.const -16))
  (func (export "on-event") (param i32) (result i32)
    (i32.const 0)))
