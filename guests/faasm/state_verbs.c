/* Does what its input says to the value "k": one letter per verb, for tests that look at each. */
#include "faasm.h"

static uint8_t buffer[65536];

int main(void) {
    char verbs[64] = {0};
    uint8_t *pointer = NULL;
    faasmGetInput(verbs, sizeof verbs - 1);
    for (char *verb = verbs; *verb; verb++) switch (*verb) {
        case 'w': faasmWriteState("k", "12345678", 8); break;
        case 'o': faasmWriteStateOffset("k", 8, 6, "xyz", 3); break;       /* one byte too far */
        case 'i': faasmReadStateOffset("k", 8, 9, buffer, 1); break;
        case 'P': pointer = faasmReadStatePtr("k", 8); break;
        case 'O': pointer = faasmReadStateOffsetPtr("k", 8, 2, 4); break;
        case 'X': pointer = faasmReadStateOffsetPtr("k", 8, 7, 2); break;
        case 'B': pointer = faasmReadStatePtr("big", 1 << 20); break;
        case 's': pointer[0] = 'S'; break;
        case 'f': faasmFlagStateDirty("k", 8); break;
        case 'F': faasmFlagStateOffsetDirty("k", 8, 0, 1); break;
        case 'p': faasmPushState("k"); break;
        case 'q': faasmPushStatePartial("k"); break;
        case 'm': faasmWriteState("mask", "\0\1\0\0\0\0\0\0", 8); break;
        case 'M': faasmPushStatePartialMask("k", "mask"); break;
        case 'g': faasmPullState("k", 8); break;
        case 'r': faasmLockStateRead("k"); break;
        case 'l': faasmLockStateWrite("k"); break;
        case 'R': faasmUnlockStateRead("k"); break;
        case 'L': faasmUnlockStateWrite("k"); break;
        case 'n': faasmPushState("nobody"); break;
        case 'N': faasmLockStateWrite("nobody"); break;
        case 'e': faasmReadAppendedState("k", buffer, 4, 2); break;         /* too few, or too small */
        case 'a': faasmAppendState("k", "abc", 3); break;
        case '4': faasmWriteState("k", (void *)16, -1); break;              /* 4 GiB */
        case '5': faasmReadState("k", (void *)0xfffffff0u, 64); break;
        case '6': faasmReadState((char *)0xffffffffu, buffer, 1); break;
        case '7': faasmReadStatePtr("huge", -4096); break;
        case '8': memset(buffer, 'k', sizeof buffer), faasmWriteState((char *)buffer, "1", 1); break;
        case '9': faasmWriteState("", "1", 1); break;
        case 't': __builtin_trap();
        case '!': for (;;) __asm__ volatile("");
        case '=': faasmSetOutput(buffer, faasmReadState("k", buffer, 8)); break;
        case '*': faasmSetOutput(pointer, 8); break;
        default: return 100;
    }
    return 0;
}
