/* Chains itself by name, as often as its input says; the last one puts out how. */
#include <stdio.h>
#include "faasm.h"

int main(void) {
    char text[16] = {0};
    faasmGetInput(text, sizeof text - 1);
    int left = atoi(text);
    if (left == 0) {
        faasmSetOutput("bottom", 6);
        return 0;
    }
    char *output = NULL;
    int size = 0;
    int id = faasmChainNamed("chain_deep", text, snprintf(text, sizeof text, "%d", left - 1));
    int code = faasmAwaitCallOutput(id, &output, &size);
    faasmSetOutput(output, size);
    free(output);
    return code;
}
