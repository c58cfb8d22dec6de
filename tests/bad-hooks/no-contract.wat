;; A module that knows nothing of the contract.
;; world: none
;; refused: on-event
(module)
