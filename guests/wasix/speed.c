// build: threads -O2 -Wl,--export=wasi_thread_start
// echo PORT COUNT: nanoseconds per round trip of 64 bytes with a server at 127.0.0.1.
// compute THREADS: nanoseconds that so many threads take for the same work each.
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <time.h>
#include <unistd.h>

#define IMPORT(module, name) __attribute__((import_module(module), import_name(name)))

IMPORT("wasix_32v1", "sock_open") int sock_open(int family, int type, int protocol, uint32_t *fd);
IMPORT("wasix_32v1", "sock_connect") int sock_connect(uint32_t fd, const void *address);
IMPORT("wasix_32v1", "sock_set_opt_flag") int sock_set_opt_flag(uint32_t fd, int option, int on);
IMPORT("wasi", "thread-spawn") int32_t spawn(const void *start);

static int32_t done;
static volatile uint64_t sink;

static double now(void) {
    struct timespec t;
    clock_gettime(CLOCK_MONOTONIC, &t);
    return t.tv_sec * 1e9 + t.tv_nsec;
}

static void work(void) {
    uint64_t x = 88172645463325252ull;
    for (int i = 0; i < 200000000; i++) x ^= x << 13, x ^= x >> 7, x ^= x << 17;
    sink = x;
}

__attribute__((export_name("wasi_thread_start"))) void wasi_thread_start(uint32_t tid, void *start) {
    work();
    __atomic_fetch_add(&done, 1, 5);
    __builtin_wasm_memory_atomic_notify(&done, 1);
}

static int echo(int port, int count) {
    struct { uint8_t family, pad; uint16_t port; uint8_t octets[16]; } address = {1, 0, port, {127, 0, 0, 1}};
    uint32_t fd;
    char block[64] = "ping";
    if (sock_open(1, 1, 6, &fd) || sock_connect(fd, &address) || sock_set_opt_flag(fd, 3, 1)) return 1;
    double start = now();
    for (int i = 0; i < count; i++)
        if (write(fd, block, sizeof block) != sizeof block || read(fd, block, sizeof block) <= 0) return 2;
    printf("%.0f\n", (now() - start) / count);
    return 0;
}

int main(int argc, char **argv) {
    if (argc == 4) return echo(atoi(argv[2]), atoi(argv[3]));
    int threads = atoi(argv[2]);
    double start = now();
    for (int i = 1; i < threads; i++)
        if (spawn(&done) < 1) return 3;
    work();
    for (int32_t seen; (seen = __atomic_load_n(&done, 5)) != threads - 1;)
        __builtin_wasm_memory_atomic_wait32(&done, seen, 100000000);
    printf("%.0f\n", now() - start);
    return 0;
}
