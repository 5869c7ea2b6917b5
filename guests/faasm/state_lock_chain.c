/* Holds a lock while a child works on the value. Input: "a" awaits it with the lock held, "u" unlocks first,
   "l" lets the child try to lock, which cannot succeed while its parent waits. */
#include "faasm.h"

int writes(void) {
    faasmWriteState("chained", "child!!!", 8);
    return 0;
}

int locks(void) {
    faasmLockStateWrite("chained");
    return 0;
}

int main(void) {
    char how = 0, copy[8];
    faasmGetInput(&how, 1);
    faasmWriteState("chained", "parent!!", 8);
    faasmLockStateWrite("chained");
    int id = faasmChain(how == 'l' ? locks : writes, "", 0);
    if (how == 'u') {
        for (int i = 0; i < 200; i++) { /* nobody waits for the child yet, so it waits for the lock */
            faasmReadState("chained", copy, 8);
            if (memcmp(copy, "parent!!", 8)) return 1;
        }
        faasmUnlockStateWrite("chained");
    }
    int code = faasmAwaitCall(id);
    faasmReadState("chained", copy, 8);
    if (how == 'l') return code == 1 && !memcmp(copy, "parent!!", 8) ? 0 : 2;
    return code || memcmp(copy, "child!!!", 8) ? 3 : 0;
}
