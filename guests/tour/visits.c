// build: faasm
/* A Faasm function: counts its calls in a state value that all instances share. */
#include <faasm.h>
#include <stdio.h>

int main(void) {
    char name[64] = "", text[128];
    faasmGetInput(name, sizeof name - 1);
    uint32_t *visits = (uint32_t *)faasmReadStatePtr("visits", sizeof *visits);
    faasmLockStateWrite("visits");
    uint32_t visit = ++*visits; /* the same four bytes in every instance */
    faasmUnlockStateWrite("visits");
    faasmSetOutput(text, snprintf(text, sizeof text, "hello %s, you are visitor %u", name, visit));
    return 0;
}
