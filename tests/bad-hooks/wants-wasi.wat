;; A component that wants more than the contract gives: the environment.
;; world: none
;; refused: wasi:cli/environment
(component
  (import "wasi:cli/environment@0.2.0" (instance (export "initial-cwd" (func (result (option string)))))))
