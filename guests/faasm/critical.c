/* Children of one application take turns in its critical section. */
#include <time.h>
#include "faasm.h"

int child(void) {
    struct timespec pause = {0, 2000000};
    FAASM_CRITICAL_LOCAL {
        int inside = 0;
        faasmReadStateOffset("inside", 4, 0, &inside, 4);
        if (inside) return 1;
        inside = 1;
        faasmWriteStateOffset("inside", 4, 0, &inside, 4);
        nanosleep(&pause, NULL);
        inside = 0;
        faasmWriteStateOffset("inside", 4, 0, &inside, 4);
    }
    return 0;
}

int main(void) {
    int zero = 0;
    faasmWriteState("inside", &zero, sizeof zero);
    return faasmChainBatch(child, "", 12);
}
