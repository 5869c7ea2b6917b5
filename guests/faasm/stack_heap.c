/* A megabyte of stack can be used; it grows down and lies below the heap. */
#include "faasm.h"

static __attribute__((noinline)) int below(volatile char *outer) {
    volatile char inner[1 << 20];
    inner[0] = inner[sizeof inner - 1] = 1;
    char *heap = malloc(16);
    int good = (uintptr_t)inner < (uintptr_t)outer && (uintptr_t)outer < (uintptr_t)heap;
    free(heap);
    return good;
}

int main(void) {
    volatile char outer[16];
    outer[0] = 0;
    return below(outer) ? 0 : 1;
}
