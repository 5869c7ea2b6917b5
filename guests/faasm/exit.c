/* Leaves from below main. */
#include "faasm.h"

static __attribute__((noinline)) void deep(int levels) {
    if (levels == 0) exit(7);
    deep(levels - 1);
    faasmSetOutput("not reached", 11);
}

int main(void) {
    deep(10);
    return 0;
}
