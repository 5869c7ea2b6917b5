/* build: faasm
 * A zygote, and no entry below `_start`: the constructors run once nevertheless. */
#include <stdio.h>
#include "faasm.h"

static volatile int built = 0, prepared = 0;

__attribute__((constructor)) static void construct(void) { built += 1; }

FAASM_ZYGOTE() {
    prepared += 10 * built;
    return 0;
}

int main(int argc, char **argv) {
    char text[64];
    faasmSetOutput(text, snprintf(text, sizeof text, "%d %d %d %s", built, prepared, argc, argv[argc - 1]));
    return 0;
}
