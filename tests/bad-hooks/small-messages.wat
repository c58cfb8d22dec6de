;; 400 messages of a byte, where an invocation may have 256.
;; ends: messages
(module
  (import "aerie:hook/results@1.0.0" "publish" (func $publish (param i32 i32 i32 i32 i32 i32)))
  (memory (export "memory") 1)
  (global $heap (mut i32) (i32.const 1024))
  (func (export "cabi_realloc") (param i32 i32 i32) (param $length i32) (result i32) (local $at i32)
    (local.set $at (i32.and (i32.add (global.get $heap) (i32.const 7)) (i32.const -8)))
    (global.set $heap (i32.add (local.get $at) (local.get $length)))
    (local.get $at))
  (func (export "on-event") (param i32) (result i32) (local $n i32)
    (loop $again
      (call $publish (i32.const 0) (i32.const 0) (i32.const 0) (i32.const 0) (i32.const 1) (i32.const 64))
      (local.set $n (i32.add (local.get $n) (i32.const 1)))
      (br_if $again (i32.lt_u (local.get $n) (i32.const 400))))
    (i32.const 0)))
