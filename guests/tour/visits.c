// build: faasm
/* A Faasm function: counts its calls in a state value that all instances share. */
#include <faasm.h>
#include <stdio.h>

int main(void) {
    char name[64] = "", text[128];
    uint32_t visits = 0;
    faasmGetInput(name, sizeof name - 1);
    faasmLockStateWrite("visits");
    if (faasmReadStateSize("visits")) faasmReadState("visits", &visits, sizeof visits);
    visits++;
    faasmWriteState("visits", &visits, sizeof visits);
    faasmUnlockStateWrite("visits");
    faasmSetOutput(text, snprintf(text, sizeof text, "hello %s, you are visitor %u", name, visits));
    return 0;
}
