/* A parent and two concurrent appenders: 100 and 200 numbers of one list. */
#include <stdio.h>
#include "faasm.h"

int append_some(void) {
    char text[16] = {0};
    faasmGetInput(text, sizeof text - 1);
    for (int64_t i = 0, n = atoi(text); i < n; i++) faasmAppendState("numbers", &i, sizeof i);
    return 0;
}

int main(void) {
    static int64_t all[300];
    int64_t sum = 0;
    faasmClearAppendedState("numbers");
    int one = faasmChain(append_some, "100", 3), two = faasmChain(append_some, "200", 3);
    if (faasmAwaitCall(one) || faasmAwaitCall(two)) return 1;
    faasmReadAppendedState("numbers", all, sizeof all, 300);
    for (int i = 0; i < 300; i++) sum += all[i];
    if (sum != 99 * 100 / 2 + 199 * 200 / 2) return 2;
    faasmClearAppendedState("numbers");
    faasmAppendState("numbers", &sum, sizeof sum);
    faasmReadAppendedState("numbers", all, sizeof all, 1);
    return all[0] == sum ? 0 : 3;
}
