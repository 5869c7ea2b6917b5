/* Counts in shared state under the write lock, by copies or (input "p") through a pointer. */
#include "faasm.h"

#define ROUNDS 50

int main(void) {
    char how = 0;
    faasmGetInput(&how, 1);
    int *shared = how == 'p' ? (int *)faasmReadStatePtr("counter", 4) : NULL;
    for (int i = 0; i < ROUNDS; i++) {
        int value = 0;
        faasmLockStateWrite("counter");
        if (shared) {
            ++*shared;
            faasmFlagStateDirty("counter", 4);
        } else {
            faasmReadState("counter", &value, 4);
            value++;
            faasmWriteState("counter", &value, 4);
        }
        if (i % 10 == 0) faasmPushStatePartial("counter");
        faasmUnlockStateWrite("counter");
    }
    faasmPushState("counter");
    return 0;
}
