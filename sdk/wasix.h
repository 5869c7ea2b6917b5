/* WASIX programs in C, for any compiler that targets wasm32-wasi.
 *
 *     #include "wasix.h"
 *
 *     wasix_tty tty;
 *     if (wasix_tty_get(&tty) == 0) printf("%u columns\n", tty.cols);
 *
 * Preview 1 comes with the C library of the compiler; here is what WASIX adds to it. Functions return an errno of
 * WASI (0 is success) unless they say otherwise. The message bus is the one of 2022 and 2023, with hashed topics.
 */
#ifndef GUESTHOUSE_SDK_WASIX_H
#define GUESTHOUSE_SDK_WASIX_H

#include <stdint.h>

#ifdef __cplusplus
extern "C" {
#define WASIX_ASSERT static_assert
#else
#define WASIX_ASSERT _Static_assert
#endif

#define WASIX_IMPORT(name) __attribute__((import_module("wasix_32v1"), import_name(name)))
#define WASIX_NORETURN __attribute__((noreturn))
#define WASIX_EXPORT(name) __attribute__((export_name(name), used, visibility("default")))

typedef int32_t wasix_errno; /* 0, or a number of WASI: 6 again, 8 bad descriptor, 28 invalid, 58 not supported */
typedef uint32_t wasix_fd;

/* A number that may be absent. */
typedef struct {
    uint8_t present;
    uint64_t value;
} wasix_option;
WASIX_ASSERT(sizeof(wasix_option) == 16, "wasix_option");

typedef struct {
    uint8_t present;
    wasix_fd fd;
} wasix_option_fd;
WASIX_ASSERT(sizeof(wasix_option_fd) == 8, "wasix_option_fd");

/* --- terminal and process -------------------------------------------------------------------------- */

typedef struct {
    uint32_t cols, rows, width, height;
    uint8_t stdin_tty, stdout_tty, stderr_tty, echo, line_buffered, line_feeds;
} wasix_tty;
WASIX_ASSERT(sizeof(wasix_tty) == 24, "wasix_tty");

WASIX_IMPORT("tty_get") wasix_errno wasix_tty_get(wasix_tty *tty);
WASIX_IMPORT("tty_set") wasix_errno wasix_tty_set(const wasix_tty *tty);
WASIX_IMPORT("proc_id") wasix_errno wasix_proc_id(uint32_t *pid);
WASIX_IMPORT("proc_parent") wasix_errno wasix_proc_parent(uint32_t pid, uint32_t *parent);
WASIX_IMPORT("proc_exit2") WASIX_NORETURN void wasix_proc_exit2(uint32_t code);

/* --- threads ----------------------------------------------------------------------------------------- */

/* How a thread begins: the host reads stack and tls_base, everything else is the program's own. */
typedef struct {
    uint32_t stack, tls_base, function, argument;
    uint32_t reserved[10];
    uint32_t stack_size, guard_size;
} wasix_thread_start;
WASIX_ASSERT(sizeof(wasix_thread_start) == 64, "wasix_thread_start");

/* The program exports `wasi_thread_start(tid, start)`, which runs on the new thread. */
#define WASIX_THREAD_ENTRY WASIX_EXPORT("wasi_thread_start") void

WASIX_IMPORT("thread_spawn_v2") wasix_errno wasix_thread_spawn(wasix_thread_start *start, uint32_t *tid);
__attribute__((import_module("wasi"), import_name("thread-spawn")))
int32_t wasi_thread_spawn(void *start); /* the thread's id, or a negative errno */
WASIX_IMPORT("thread_sleep") wasix_errno wasix_thread_sleep(uint64_t nanoseconds);
WASIX_IMPORT("thread_id") wasix_errno wasix_thread_id(uint32_t *tid);
WASIX_IMPORT("thread_join") wasix_errno wasix_thread_join(uint32_t tid);
WASIX_IMPORT("thread_parallelism") wasix_errno wasix_thread_parallelism(uint32_t *threads);
WASIX_IMPORT("thread_exit") WASIX_NORETURN void wasix_thread_exit(uint32_t code);
WASIX_IMPORT("thread_signal") wasix_errno wasix_thread_signal(uint32_t tid, uint32_t signal);

/* Waits while *address equals `expected`; *woken tells whether it was woken rather than timed out. */
WASIX_IMPORT("futex_wait")
wasix_errno wasix_futex_wait(uint32_t *address, uint32_t expected, const wasix_option *timeout, uint8_t *woken);
WASIX_IMPORT("futex_wake") wasix_errno wasix_futex_wake(uint32_t *address, uint8_t *woken);
WASIX_IMPORT("futex_wake_all") wasix_errno wasix_futex_wake_all(uint32_t *address, uint8_t *woken);

/* --- files and the working directory ------------------------------------------------------------------ */

WASIX_IMPORT("getcwd") wasix_errno wasix_getcwd(char *path, uint32_t *length);
WASIX_IMPORT("chdir") wasix_errno wasix_chdir(const char *path, uint32_t length);
WASIX_IMPORT("fd_dup") wasix_errno wasix_fd_dup(wasix_fd fd, wasix_fd *copy);
WASIX_IMPORT("fd_pipe") wasix_errno wasix_fd_pipe(wasix_fd *reader, wasix_fd *writer);
WASIX_IMPORT("fd_event") wasix_errno wasix_fd_event(uint64_t initial, uint32_t flags, wasix_fd *fd);

/* --- sockets -------------------------------------------------------------------------------------------- */

enum wasix_family { WASIX_UNSPEC = 0, WASIX_INET4 = 1, WASIX_INET6 = 2, WASIX_UNIX = 3 };
enum wasix_socket_type { WASIX_STREAM = 1, WASIX_DGRAM = 2, WASIX_RAW = 3, WASIX_SEQPACKET = 4 };
enum wasix_protocol { WASIX_TCP = 6, WASIX_UDP = 17 };
enum wasix_shutdown { WASIX_SHUT_RD = 1, WASIX_SHUT_WR = 2, WASIX_SHUT_BOTH = 3 };
enum wasix_socket_option {
    WASIX_REUSE_PORT = 1,
    WASIX_REUSE_ADDR = 2,
    WASIX_NO_DELAY = 3,
    WASIX_ONLY_V6 = 5,
    WASIX_BROADCAST = 6,
    WASIX_MULTICAST_LOOP_V4 = 7,
    WASIX_MULTICAST_LOOP_V6 = 8,
    WASIX_KEEP_ALIVE = 12,
    WASIX_LINGER = 13,
    WASIX_RECV_BUF_SIZE = 15,
    WASIX_SEND_BUF_SIZE = 16,
    WASIX_RECV_TIMEOUT = 19,
    WASIX_SEND_TIMEOUT = 20,
    WASIX_CONNECT_TIMEOUT = 21,
    WASIX_ACCEPT_TIMEOUT = 22,
    WASIX_TTL = 23,
};

/* An address with a port, which is little-endian; room for the longest form there is. */
typedef struct {
    uint8_t family, zero;
    uint16_t port;
    uint8_t octets[106];
} wasix_addr_port;
WASIX_ASSERT(sizeof(wasix_addr_port) == 110, "wasix_addr_port");

/* An address alone, as `wasix_resolve` returns it. */
typedef struct {
    uint8_t family, zero;
    uint8_t octets[16];
} wasix_addr;
WASIX_ASSERT(sizeof(wasix_addr) == 18, "wasix_addr");

typedef struct {
    const void *data;
    uint32_t size;
} wasix_slice;

WASIX_IMPORT("sock_open") wasix_errno wasix_sock_open(uint32_t family, uint32_t type, uint32_t protocol, wasix_fd *fd);
WASIX_IMPORT("sock_bind") wasix_errno wasix_sock_bind(wasix_fd fd, const wasix_addr_port *address);
WASIX_IMPORT("sock_listen") wasix_errno wasix_sock_listen(wasix_fd fd, uint32_t backlog);
WASIX_IMPORT("sock_accept_v2")
wasix_errno wasix_sock_accept(wasix_fd fd, uint32_t flags, wasix_fd *accepted, wasix_addr_port *peer);
WASIX_IMPORT("sock_connect") wasix_errno wasix_sock_connect(wasix_fd fd, const wasix_addr_port *peer);
WASIX_IMPORT("sock_status") wasix_errno wasix_sock_status(wasix_fd fd, uint8_t *status);
WASIX_IMPORT("sock_addr_local") wasix_errno wasix_sock_addr_local(wasix_fd fd, wasix_addr_port *address);
WASIX_IMPORT("sock_addr_peer") wasix_errno wasix_sock_addr_peer(wasix_fd fd, wasix_addr_port *address);
WASIX_IMPORT("sock_recv")
wasix_errno wasix_sock_recv(wasix_fd fd, const wasix_slice *into, uint32_t slices, uint32_t flags, uint32_t *size,
                            uint16_t *result_flags);
WASIX_IMPORT("sock_recv_from")
wasix_errno wasix_sock_recv_from(wasix_fd fd, const wasix_slice *into, uint32_t slices, uint32_t flags, uint32_t *size,
                                 uint16_t *result_flags, wasix_addr_port *peer);
WASIX_IMPORT("sock_send")
wasix_errno wasix_sock_send(wasix_fd fd, const wasix_slice *from, uint32_t slices, uint32_t flags, uint32_t *size);
WASIX_IMPORT("sock_send_to")
wasix_errno wasix_sock_send_to(wasix_fd fd, const wasix_slice *from, uint32_t slices, uint32_t flags,
                               const wasix_addr_port *peer, uint32_t *size);
WASIX_IMPORT("sock_send_file")
wasix_errno wasix_sock_send_file(wasix_fd fd, wasix_fd file, uint64_t offset, uint64_t count, uint64_t *sent);
WASIX_IMPORT("sock_shutdown") wasix_errno wasix_sock_shutdown(wasix_fd fd, uint32_t how);
WASIX_IMPORT("sock_set_opt_flag") wasix_errno wasix_sock_set_flag(wasix_fd fd, uint32_t option, uint32_t flag);
WASIX_IMPORT("sock_get_opt_flag") wasix_errno wasix_sock_get_flag(wasix_fd fd, uint32_t option, uint8_t *flag);
WASIX_IMPORT("sock_set_opt_time") wasix_errno wasix_sock_set_time(wasix_fd fd, uint32_t option, const wasix_option *ns);
WASIX_IMPORT("sock_get_opt_time") wasix_errno wasix_sock_get_time(wasix_fd fd, uint32_t option, wasix_option *ns);
WASIX_IMPORT("sock_set_opt_size") wasix_errno wasix_sock_set_size(wasix_fd fd, uint32_t option, uint64_t size);
WASIX_IMPORT("sock_get_opt_size") wasix_errno wasix_sock_get_size(wasix_fd fd, uint32_t option, uint64_t *size);
WASIX_IMPORT("resolve")
wasix_errno wasix_resolve(const char *host, uint32_t length, uint32_t port, wasix_addr *addresses, uint32_t room,
                          uint32_t *found);

/* --- message bus ----------------------------------------------------------------------------------------- */

enum wasix_format { WASIX_RAW_BYTES, WASIX_BINCODE, WASIX_MESSAGE_PACK, WASIX_JSON, WASIX_YAML, WASIX_XML, WASIX_RKYV };
enum wasix_bus_event_type { WASIX_NOOP, WASIX_EXIT, WASIX_CALL, WASIX_RESULT, WASIX_FAULT, WASIX_CLOSE };

typedef uint32_t wasix_bus_errno; /* 0, or one of the bus: 7 aborted, 8 bad handle, 11 unsupported, 13 denied */

/* The first 16 bytes of the SHA-256 of a topic's name. */
typedef struct {
    uint64_t low, high;
} wasix_hash;

typedef struct {
    uint8_t type;
    union {
        struct {
            uint32_t bid, code;
        } exit;
        struct {
            uint8_t has_parent;
            uint64_t parent, cid;
            uint8_t format;
            wasix_hash topic;
            wasix_fd payload;
        } call;
        struct {
            uint8_t format;
            uint64_t cid;
            wasix_fd payload;
        } result;
        struct {
            uint64_t cid;
            uint32_t fault;
        } fault;
        struct {
            uint64_t cid;
        } close;
    } of;
} wasix_bus_event;
WASIX_ASSERT(sizeof(wasix_bus_event) == 64, "wasix_bus_event");

WASIX_IMPORT("bus_open_local")
wasix_bus_errno wasix_bus_open_local(const char *name, uint32_t length, uint32_t reuse, uint32_t *bid);
WASIX_IMPORT("bus_open_remote")
wasix_bus_errno wasix_bus_open_remote(const char *name, uint32_t length, uint32_t reuse, const char *instance,
                                      uint32_t instance_length, const char *token, uint32_t token_length, uint32_t *bid);
WASIX_IMPORT("bus_close") wasix_bus_errno wasix_bus_close(uint32_t bid);
WASIX_IMPORT("bus_call")
wasix_bus_errno wasix_bus_call(uint32_t bid, const wasix_hash *topic, uint32_t format, const void *data, uint32_t size,
                               uint64_t *cid);
WASIX_IMPORT("bus_subcall")
wasix_bus_errno wasix_bus_subcall(uint64_t parent, const wasix_hash *topic, uint32_t format, const void *data,
                                  uint32_t size, uint64_t *cid);
WASIX_IMPORT("bus_poll")
wasix_bus_errno wasix_bus_poll(uint64_t timeout_ns, wasix_bus_event *events, uint32_t room, uint32_t *count);
WASIX_IMPORT("call_reply")
wasix_bus_errno wasix_call_reply(uint64_t cid, uint32_t format, const void *data, uint32_t size);
WASIX_IMPORT("call_fault") void wasix_call_fault(uint64_t cid, uint32_t fault);
WASIX_IMPORT("call_close") void wasix_call_close(uint64_t cid);

#ifdef __cplusplus
}
#endif

#endif
