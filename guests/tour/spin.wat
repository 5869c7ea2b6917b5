;; Never ends by itself: the host's limits have to do it.
(module
  (func (export "_start")
    (loop $for_ever (br $for_ever))))
