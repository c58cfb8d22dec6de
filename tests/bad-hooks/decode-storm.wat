;; Has the object decoded as a picture without an end.
;; ends: deadline
(module
  (import "aerie:hook/picture@1.0.0" "decode" (func $decode (param i32 i32 i32 i32)))
  (memory (export "memory") 64) ;; a picture has room
  (global $heap (mut i32) (i32.const 1024))
  (func (export "cabi_realloc") (param i32 i32 i32) (param $length i32) (result i32) (local $at i32)
    (local.set $at (i32.and (i32.add (global.get $heap) (i32.const 7)) (i32.const -8)))
    (global.set $heap (i32.add (local.get $at) (local.get $length)))
    (local.get $at))
  (func (export "on-event") (param i32) (result i32)
    (loop $again
      (global.set $heap (i32.const 1024)) ;; what the host hands over is forgotten: memory is not what ends it
      (call $decode (i32.const 0) (i32.const 0) (i32.const 0) (i32.const 64))
      (br $again))
    unreachable))
