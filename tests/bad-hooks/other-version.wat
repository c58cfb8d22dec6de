;; A component for a version of the contract that is not there.
;; world: none
;; refused: aerie:hook/log@2.0.0
(component
  (import "aerie:hook/log@2.0.0" (instance (export "write" (func (param "message" string))))))
