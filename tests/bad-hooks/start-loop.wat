;; A loop without an end before the hook is even called.
;; ends: deadline
(module
  (memory (export "memory") 1)
  (global $heap (mut i32) (i32.const 1024))
  (func (export "cabi_realloc") (param i32 i32 i32) (param $length i32) (result i32) (local $at i32)
    (local.set $at (i32.and (i32.add (global.get $heap) (i32.const 7)) (i32.const -8)))
    (global.set $heap (i32.add (local.get $at) (local.get $length)))
    (local.get $at))
  (func $begin (loop $again (br $again)))
  (start $begin)
  (func (export "on-event") (param i32) (result i32)
    (i32.const 0)))
