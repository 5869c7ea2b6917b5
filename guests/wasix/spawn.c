// build: threads -Wl,--export=wasi_thread_start
// Starts threads in waves and counts them in shared memory; argv: shape (C or D), threads per wave, waves.
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#define IMPORT(module, name) __attribute__((import_module(module), import_name(name)))

typedef struct {
    uint32_t stack, tls_base, start_funct, start_args, reserved[10], stack_size, guard_size;
} thread_start;

IMPORT("wasi", "thread-spawn") int32_t spawn_d(const void *start);
IMPORT("wasix_32v1", "thread_spawn") int32_t spawn_c(const thread_start *start, uint32_t *tid);
IMPORT("wasix_32v1", "thread_id") int32_t thread_id(uint32_t *tid);
IMPORT("wasix_32v1", "thread_exit") _Noreturn void thread_exit(uint32_t code);

static int32_t arrived, gone, wrong, open_gate;
static uint8_t seen[1 << 20];
static __attribute__((aligned(16))) char stacks[64][4096];

// Runs on a stack of its own: nothing of libc here, only atomics.
__attribute__((noinline)) static void work(uint32_t tid) {
    uint32_t own = 0;
    if (thread_id(&own) || own != tid || tid == 0 || tid >= 1u << 29 || __atomic_fetch_add(&seen[tid & 0xfffff], 1, 5))
        __atomic_fetch_add(&wrong, 1, 5);
    __atomic_fetch_add(&arrived, 1, 5);
    __builtin_wasm_memory_atomic_notify(&arrived, 1);
    while (!__atomic_load_n(&open_gate, 5)) __builtin_wasm_memory_atomic_wait32(&open_gate, 0, -1);
    __atomic_fetch_add(&gone, 1, 5);
    __builtin_wasm_memory_atomic_notify(&gone, 1);
}

__asm__(".globaltype __stack_pointer, i32\n");

__attribute__((export_name("wasi_thread_start"))) void wasi_thread_start(uint32_t tid, thread_start *start) {
    __asm__ volatile("local.get %0\nglobal.set __stack_pointer\n" : : "r"(start->stack));
    work(tid);
    if (start->start_args) thread_exit(7);
}

static void await(int32_t *counter, int32_t value) {
    for (int32_t now; (now = __atomic_load_n(counter, 5)) != value;)
        __builtin_wasm_memory_atomic_wait32(counter, now, 100000000);
}

int main(int argc, char **argv) {
    int threads = atoi(argv[2]), waves = atoi(argv[3]);
    thread_start starts[64];
    for (int wave = 0; wave < waves; wave++) {
        __atomic_store_n(&open_gate, 0, 5);
        __atomic_store_n(&arrived, 0, 5);
        __atomic_store_n(&gone, 0, 5);
        for (int i = 0; i < threads; i++) {
            memset(&starts[i], 0, sizeof starts[i]);
            starts[i].stack = (uint32_t)(uintptr_t)(stacks[i] + sizeof stacks[i]);
            starts[i].start_args = i & 1;
            uint32_t tid = 0;
            int32_t error = argv[1][0] == 'D' ? spawn_d(&starts[i]) : spawn_c(&starts[i], &tid);
            if (argv[1][0] == 'D' ? error <= 0 : error || !tid) {
                printf("spawn: %d\n", error);
                return 2;
            }
        }
        await(&arrived, threads);
        __atomic_store_n(&open_gate, 1, 5);
        __builtin_wasm_memory_atomic_notify(&open_gate, -1);
        await(&gone, threads);
    }
    printf("wrong %d\n", wrong);
    return wrong != 0;
}
