;; Answers each attempt with a failure that asks for another one.
;; ends: rejected
(module
  (memory (export "memory") 1)
  (data (i32.const 128) "key\ff\ff\ff")
  (global $heap (mut i32) (i32.const 1024))
  (func (export "cabi_realloc") (param i32 i32 i32) (param $length i32) (result i32) (local $at i32)
    (local.set $at (i32.and (i32.add (global.get $heap) (i32.const 7)) (i32.const -8)))
    (global.set $heap (i32.add (local.get $at) (local.get $length)))
    (local.get $at))
  (func (export "on-event") (param i32) (result i32)
    (i32.store8 (i32.const 0) (i32.const 1))      ;; an error
    (i32.store (i32.const 4) (i32.const 128))     ;; its message
    (i32.store (i32.const 8) (i32.const 3))
    (i32.store8 (i32.const 12) (i32.const 1))     ;; retry
    (i32.const 0)))
