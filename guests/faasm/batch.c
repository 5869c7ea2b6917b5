/* Chains a batch of one function and waits for all; the input says for which text one of them fails. */
#include "faasm.h"

int child(void) {
    char text[8] = {0};
    faasmGetInput(text, sizeof text - 1);
    return strcmp(text, "good") != 0;
}

int main(void) { return faasmChainBatch(child, "good", 8) || faasmChainBatch(child, "bad", 2) == 0; }
