/* Chains a function of its own by pointer, with a binary number as input. */
#include "faasm.h"

static int counter = 5; /* a child never sees the caller's globals */

int child(void) {
    int number = 0;
    if (faasmGetInput(&number, sizeof number) != (int)sizeof number) return 2;
    faasmSetOutput("seen", 4);
    return number == 42 && counter == 5 ? 0 : 3;
}

int main(void) {
    int number = 42;
    counter = 6;
    return faasmAwaitCall(faasmChain(child, &number, sizeof number));
}
