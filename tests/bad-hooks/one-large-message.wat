;; One message of 300 KiB, where all results of an invocation may have 256.
;; ends: output
(module
  (import "aerie:hook/results@1.0.0" "publish" (func $publish (param i32 i32 i32 i32 i32 i32)))
  (memory (export "memory") 8)
  (global $heap (mut i32) (i32.const 1024))
  (func (export "cabi_realloc") (param i32 i32 i32) (param $length i32) (result i32) (local $at i32)
    (local.set $at (i32.and (i32.add (global.get $heap) (i32.const 7)) (i32.const -8)))
    (global.set $heap (i32.add (local.get $at) (local.get $length)))
    (local.get $at))
  (func (export "on-event") (param i32) (result i32)
    (call $publish (i32.const 0) (i32.const 0) (i32.const 0) (i32.const 0) (i32.const 307200) (i32.const 64))
    (i32.const 0)))
