;; Logs at a level that the contract does not know.
;; ends: trap
(module
  (import "aerie:hook/log@1.0.0" "write" (func $log (param i32 i32 i32)))
  (memory (export "memory") 1)
  (data (i32.const 128) "key\ff\ff\ff")
  (global $heap (mut i32) (i32.const 1024))
  (func (export "cabi_realloc") (param i32 i32 i32) (param $length i32) (result i32) (local $at i32)
    (local.set $at (i32.and (i32.add (global.get $heap) (i32.const 7)) (i32.const -8)))
    (global.set $heap (i32.add (local.get $at) (local.get $length)))
    (local.get $at))
  (func (export "on-event") (param i32) (result i32)
    (call $log (i32.const 77) (i32.const 128) (i32.const 3))
    (i32.const 0)))
