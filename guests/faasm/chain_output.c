/* Waits for the outputs of two children: exact lengths, no terminator assumed. */
#include "faasm.h"

int short_output(void) {
    faasmSetOutput("expected A", 10);
    return 0;
}

int long_output(void) {
    faasmSetOutput("longer expected B", 17);
    return 0;
}

static int check(int id, const char *text, int length) {
    char *output = NULL;
    int size = -1;
    int code = faasmAwaitCallOutput(id, &output, &size);
    int wrong = code != 0 || size != length || memcmp(output, text, (size_t)length) != 0;
    free(output);
    return wrong;
}

int main(void) {
    int one = faasmChain(short_output, NULL, 0), two = faasmChain(long_output, NULL, 0);
    return check(two, "longer expected B", 17) || check(one, "expected A", 10) || check(one, "expected A", 10);
}
