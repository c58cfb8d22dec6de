;; A component that exports nothing.
;; world: none
;; refused: on-event
(component)
