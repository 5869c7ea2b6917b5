/* Sees what another call wrote through a pointer. */
#include "faasm.h"

int main(void) {
    uint8_t *value = faasmReadStatePtr("state_shared", 7);
    for (int i = 0; i < 7; i++)
        if (value[i] != 5) return 1;
    uint8_t *third = faasmReadStateOffsetPtr("state_shared", 7, 3, 2);
    if (third == value + 3 || *third != 5) return 2;
    if (faasmReadStateOffsetPtr("state_shared", 7, 3, 2) != third) return 3;
    third[1] = 6; /* another address of the same byte */
    if (value[4] != 6) return 4;
    value[4] = 5;
    faasmSetOutput("success", 7);
    return 0;
}
