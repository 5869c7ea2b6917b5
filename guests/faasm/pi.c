/* Estimates pi: children throw darts and append what they hit to a list in shared state. */
#include <stdio.h>
#include "faasm.h"

#define CHILDREN 4
#define DARTS 400000

static uint64_t next(uint64_t *seed) {
    *seed ^= *seed << 13;
    *seed ^= *seed >> 7;
    *seed ^= *seed << 17;
    return *seed >> 11;
}

int throw_darts(void) {
    char text[32] = {0};
    faasmGetInput(text, sizeof text - 1);
    uint64_t seed = 88172645463325252ULL + (uint64_t)atoi(text) * 7919;
    long hits = 0;
    for (int i = 0; i < DARTS; i++) {
        double x = (double)next(&seed) / 9007199254740992.0, y = (double)next(&seed) / 9007199254740992.0;
        hits += x * x + y * y <= 1.0;
    }
    faasmAppendState("pi_hits", &hits, sizeof hits);
    return 0;
}

int main(void) {
    char text[32];
    int ids[CHILDREN];
    faasmClearAppendedState("pi_hits");
    for (int i = 0; i < CHILDREN; i++)
        ids[i] = faasmChain(throw_darts, text, snprintf(text, sizeof text, "%d", i));
    for (int i = 0; i < CHILDREN; i++)
        if (faasmAwaitCall(ids[i])) return 1;
    long hits[CHILDREN], total = 0;
    faasmReadAppendedState("pi_hits", hits, sizeof hits, CHILDREN);
    for (int i = 0; i < CHILDREN; i++) total += hits[i];
    int size = snprintf(text, sizeof text, "Pi estimate: %f", 4.0 * (double)total / CHILDREN / DARTS);
    faasmSetOutput(text, size);
    return 0;
}
