;; Threads over an imported shared memory, steered by the first argument's letter; each mode is one test.
;;   e  a child leaves with code 3          t  a child traps            x  a child calls thread_exit, main returns 0
;;   s  main returns while a child spins    w  main waits for ever while a child leaves with code 5
;;   j  main joins a child that sleeps 50 ms, then leaves with 0 if the child's store is there, else 1
;;   m  main calls thread_exit, the child stores and returns: the program ends with 0
;;   f  a child and main share a file descriptor: the child reads 3 bytes and closes it
(module
  (import "env" "memory" (memory 2 16 shared))
  (import "wasi" "thread-spawn" (func $spawn (param i32) (result i32)))
  (import "wasix_32v1" "thread_exit" (func $thread_exit (param i32)))
  (import "wasix_32v1" "thread_sleep" (func $sleep (param i64) (result i32)))
  (import "wasix_32v1" "thread_join" (func $join (param i32) (result i32)))
  (import "wasi_snapshot_preview1" "proc_exit" (func $exit (param i32)))
  (import "wasi_snapshot_preview1" "args_get" (func $args (param i32 i32) (result i32)))
  (import "wasi_snapshot_preview1" "path_open"
    (func $open (param i32 i32 i32 i32 i32 i64 i64 i32 i32) (result i32)))
  (import "wasi_snapshot_preview1" "fd_read" (func $read (param i32 i32 i32 i32) (result i32)))
  (import "wasi_snapshot_preview1" "fd_seek" (func $seek (param i32 i64 i32 i32) (result i32)))
  (import "wasi_snapshot_preview1" "fd_close" (func $close (param i32) (result i32)))
  (import "wasi_snapshot_preview1" "fd_tell" (func $tell (param i32 i32) (result i32)))
  (data (i32.const 1024) "file")
  (func $mode (result i32)            ;; letter of the second argument
    (drop (call $args (i32.const 2048) (i32.const 2112)))
    (i32.load8_u (i32.load (i32.const 2052))))
  (func $is (param i32) (result i32) (i32.eq (i32.load (i32.const 512)) (local.get 0)))
  (func (export "wasi_thread_start") (param $tid i32) (param $arg i32)
    (i32.atomic.store (i32.const 256) (local.get $tid))
    (if (call $is (i32.const 101)) (then (call $exit (i32.const 3))))
    (if (call $is (i32.const 116)) (then (unreachable)))
    (if (call $is (i32.const 120)) (then (call $thread_exit (i32.const 9))))
    (if (call $is (i32.const 115)) (then (loop (br 0))))
    (if (call $is (i32.const 119)) (then (drop (call $sleep (i64.const 20000000))) (call $exit (i32.const 5))))
    (if (call $is (i32.const 106)) (then (drop (call $sleep (i64.const 50000000)))))
    (if (call $is (i32.const 109)) (then (drop (call $sleep (i64.const 50000000)))))
    (if (call $is (i32.const 102)) (then
      (i32.store (i32.const 300) (i32.const 320))
      (i32.store (i32.const 304) (i32.const 3))
      (drop (call $read (i32.load (i32.const 600)) (i32.const 300) (i32.const 1) (i32.const 308)))
      (drop (call $tell (i32.load (i32.const 600)) (i32.const 608)))
      (drop (call $seek (i32.load (i32.const 600)) (i64.const 5) (i32.const 0) (i32.const 616)))))
    (i32.atomic.store (i32.const 260) (i32.const 42))
    (drop (memory.atomic.notify (i32.const 260) (i32.const -1))))
  (func $await (drop (memory.atomic.wait32 (i32.const 260) (i32.const 0) (i64.const 5000000000))))
  (func (export "_start") (local $tid i32)
    (i32.store (i32.const 512) (call $mode))
    (if (call $is (i32.const 102)) (then
      (drop (call $open (i32.const 3) (i32.const 0) (i32.const 1024) (i32.const 4) (i32.const 0)
        (i64.const 6291495) (i64.const 0) (i32.const 0) (i32.const 600)))))
    (local.set $tid (call $spawn (i32.const 0)))
    (if (i32.lt_s (local.get $tid) (i32.const 1)) (then (call $exit (i32.const 100))))
    (if (call $is (i32.const 119)) (then (drop (memory.atomic.wait32 (i32.const 700) (i32.const 0) (i64.const -1)))))
    (if (call $is (i32.const 109)) (then (call $thread_exit (i32.const 1))))
    (if (i32.or (call $is (i32.const 101)) (call $is (i32.const 116))) (then (loop (br 0))))
    (if (call $is (i32.const 120)) (then (drop (call $join (local.get $tid)))))
    (if (call $is (i32.const 106)) (then
      (drop (call $join (local.get $tid)))
      (drop (call $join (i32.const 12345)))
      (call $exit (i32.ne (i32.atomic.load (i32.const 260)) (i32.const 42)))))
    (if (call $is (i32.const 102)) (then
      (call $await)
      ;; the child read 3 bytes, was at 3, sought to 5: so are we
      (drop (call $tell (i32.load (i32.const 600)) (i32.const 624)))
      (call $exit (i32.eqz (i32.and
        (i32.and (i32.eq (i32.load (i32.const 308)) (i32.const 3)) (i32.eq (i32.load (i32.const 608)) (i32.const 3)))
        (i32.eq (i32.load (i32.const 624)) (i32.const 5)))))))))
