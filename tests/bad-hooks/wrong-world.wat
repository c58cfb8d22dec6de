;; A transform, for GETs: no rule may name it.
;; world: transform
;; refused: it is a transform
(module
  (memory (export "memory") 1)
  (func (export "cabi_realloc") (param i32 i32 i32 i32) (result i32) (i32.const 1024))
  (func (export "transform") (param i32 i32 i32 i32) (result i32) (i32.const 0)))
