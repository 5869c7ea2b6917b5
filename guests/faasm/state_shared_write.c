/* Two pointers to a value are one, and what is written through it needs no push to be seen here. */
#include "faasm.h"

int main(void) {
    uint8_t *one = faasmReadStatePtr("state_shared", 7);
    uint8_t *two = faasmReadStatePtr("state_shared", 7);
    if (!one || one != two) return 1;
    memset(one, 5, 7);
    faasmSetOutput("success", 7);
    return 0;
}
