// build: faasm -Wl,--export=__main_void
/* What constructors and zygote left is there in every later instance, and they never run again. */
#include <stdio.h>
#include "faasm.h"

static volatile int restored = 1, constructed, prepared;
static char *heap;

__attribute__((constructor)) static void construct(void) { constructed++; }

FAASM_ZYGOTE() {
    restored = 200;
    prepared++;
    heap = malloc(1 << 20);
    memset(heap, 'h', 1 << 20);
    return 0;
}

int main(void) {
    char text[64];
    for (int i = 0; i < 1 << 20; i++)
        if (heap[i] != 'h') return 1;
    memset(heap, 'x', 1 << 20);
    int size = snprintf(text, sizeof text, "%d %d %d", restored, constructed, prepared);
    restored = 0;
    free(heap);
    heap = malloc(1 << 16);
    faasmSetOutput(text, size);
    return heap ? 0 : 2;
}
