// build: faasm-dl
/* Puts out what it finds at its start, and then changes all of it: every call must find the same. */
#include <fcntl.h>
#include <stdio.h>
#include <unistd.h>
#include "faasm.h"

__attribute__((visibility("default"), used)) int from_main(int x) { return x * 2; }

static int global = 11;
static char zeros[4096];
static faasm_mutex_t mutex;

static int sum(const volatile unsigned char *at, size_t length) {
    int total = 0;
    for (size_t i = 0; i < length; i++) total += at[i];
    return total;
}

int main(void) {
    char text[256];
    void *end = faasm_sbrk(0);
    int pages = (int)__builtin_wasm_memory_size(0), file = open("/etc/hosts", O_RDONLY);
    char *fresh = malloc(100000);
    int dirty = sum((unsigned char *)zeros, sizeof zeros) + sum((unsigned char *)fresh, 100000);
    int library = faasm_dlopen("/lib/one.so", 0), counted = -1, *counter = NULL;
    if (library) {
        counter = faasm_dlsym(library, "counter");
        counted = *counter;
    }
    uint8_t *value = faasmReadStatePtr("kept", 70000);
    uint8_t *more = faasm_mmap(NULL, 5 * 65536, 3, 0x22, -1, 0);
    dirty += sum(more, 5 * 65536);
    int size = snprintf(text, sizeof text, "%d %d %d %d %d %d %d %d %s %d", global, (int)(uintptr_t)end, pages, file, dirty,
                        library, counted, (int)(uintptr_t)more, getenv("LEFT") ? "set" : "unset",
                        faasm_pthread_mutex_trylock(&mutex));
    faasmSetOutput(text, size);
    global = 99;
    memset(zeros, 1, sizeof zeros), memset(fresh, 2, 100000), memset(more, 3, 5 * 65536), memset(value, 4, 70000);
    if (counter) *counter = 1000;
    setenv("LEFT", "behind", 1);
    faasm_dup(file);
    printf("left in the buffer");
    faasmLockStateWrite("kept");
    return 0;
}
