;; A component for a later version of the contract, with a function that is not there yet.
;; world: none
;; refused: it is built for contract 1.9.0, this appliance has 1.1.0
(component
  (import "aerie:hook/log@1.9.0" (instance (export "flush" (func)))))
