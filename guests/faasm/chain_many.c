/* Chains as many children by pointer as its input says, then waits for all of them. */
#include "faasm.h"

int child(void) {
    int number = 0;
    faasmGetInput(&number, sizeof number);
    return number % 100;
}

int main(void) {
    char text[16] = {0};
    faasmGetInput(text, sizeof text - 1);
    int count = atoi(text), wrong = 0;
    int *ids = malloc(sizeof(int) * (size_t)count);
    for (int i = 0; i < count; i++) ids[i] = faasmChain(child, &i, sizeof i);
    for (int i = 0; i < count; i++) wrong |= faasmAwaitCall(ids[i]) != i % 100;
    free(ids);
    return wrong;
}
