/* build: faasm -Wl,--export=__main_void -Wl,--export=__wasm_call_dtors
 * Constructors and zygote have run, once each, when main or a chained function does. */
#include <stdio.h>
#include "faasm.h"

static volatile int built = 0, prepared = 0;

__attribute__((constructor)) static void construct(void) { built += 1; }

FAASM_ZYGOTE() {
    prepared += 10 * built;
    return 0;
}

int by_pointer(void) { return built == 1 && prepared == 10 ? 0 : 1; }

int main(void) {
    char text[32];
    int code = faasmAwaitCall(faasmChain(by_pointer, NULL, 0));
    printf("printed");
    faasmSetOutput(text, snprintf(text, sizeof text, "%d %d %d", built, prepared, code));
    return 0;
}
