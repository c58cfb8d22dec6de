;; Its `on-event` is no function of the contract's type.
;; world: none
;; refused: on-event
(component
  (core module $m (func (export "f")))
  (core instance $i (instantiate $m))
  (func (export "on-event") (canon lift (core func $i "f"))))
