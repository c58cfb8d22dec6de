;; Reads from a reader that it was never given.
;; ends: trap
(module
  (import "aerie:hook/object@1.1.0" "[method]reader.read" (func $next (param i32 i32 i32)))
  (memory (export "memory") 1)
  (func (export "cabi_realloc") (param i32 i32 i32 i32) (result i32) i32.const 1024)
  (func (export "on-event") (param i32) (result i32)
    (call $next (i32.const 1) (i32.const 10) (i32.const 64))
    i32.const 0))
