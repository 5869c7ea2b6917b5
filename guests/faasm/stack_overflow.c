/* Recurses until something gives. */
#include "faasm.h"

static __attribute__((noinline)) int deeper(volatile char *above, int level) {
    volatile char here[4096];
    here[0] = (char)level;
    return deeper(here, level + 1) + here[0] + above[0];
}

int main(void) {
    char here[1] = {0};
    return deeper(here, 0);
}
