/* The size of a value is 0 before it is written, and its length afterwards. */
#include "faasm.h"

int main(void) {
    uint8_t buffer[4] = {7, 7, 7, 7};
    if (faasmReadStateSize("state_size") != 0) return 1;
    if (faasmReadState("state_size", buffer, 4) != 0 || buffer[0] || buffer[3]) return 2;
    faasmWriteState("state_size", "abcd", 4);
    if (faasmReadStateSize("state_size") != 4) return 3;
    buffer[2] = 9; /* a copy of two bytes leaves the third alone */
    if (faasmReadState("state_size", buffer, 2) != 4 || buffer[1] != 'b' || buffer[2] != 9) return 4;
    return 0;
}
