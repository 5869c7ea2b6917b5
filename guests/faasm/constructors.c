/* build: faasm
 * Without a zygote, constructors run once in every way to enter. */
#include "faasm.h"

static volatile int built = 0;

__attribute__((constructor)) static void construct(void) { built += 1; }

int by_pointer(void) { return built == 1 ? 0 : 1; }

FAASM_EXPORT("other") int other(void) { return built == 1 ? 0 : 1; }

int main(void) { return built == 1 ? faasmAwaitCall(faasmChain(by_pointer, NULL, 0)) : 2; }
