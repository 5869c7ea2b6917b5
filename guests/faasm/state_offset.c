/* Overlapping writes at offsets survive push and pull. */
#include "faasm.h"

int main(void) {
    uint8_t value[7] = {0, 1, 2, 3, 4, 5, 6}, copy[7];
    const uint8_t expected[7] = {5, 5, 6, 6, 4, 5, 6}, fives[3] = {5, 5, 5}, sixes[2] = {6, 6};
    faasmWriteState("state_offset", value, 7);
    faasmPushState("state_offset");
    faasmWriteStateOffset("state_offset", 7, 0, fives, 3);
    faasmWriteStateOffset("state_offset", 7, 2, sixes, 2);
    faasmPushState("state_offset");
    faasmPullState("state_offset", 7);
    faasmReadStateOffset("state_offset", 7, 0, copy, 7);
    if (memcmp(copy, expected, 7)) return 1;
    faasmReadStateOffset("state_offset", 7, 2, copy, 3);
    if (memcmp(copy, expected + 2, 3)) return 2;
    faasmSetOutput("success", 7);
    return 0;
}
