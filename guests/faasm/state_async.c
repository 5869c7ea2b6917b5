/* Writes a value, reads it back, pushes it, reads it again. */
#include "faasm.h"

int main(void) {
    uint8_t value[4] = {3, 2, 1, 0}, copy[4] = {9, 9, 9, 9};
    faasmWriteState("state_async", value, 4);
    if (faasmReadState("state_async", copy, 4) != 4 || memcmp(value, copy, 4)) return 1;
    faasmPushState("state_async");
    memset(copy, 9, 4);
    faasmReadState("state_async", copy, 4);
    if (memcmp(value, copy, 4)) return 2;
    faasmSetOutput("equal", 5);
    return 0;
}
