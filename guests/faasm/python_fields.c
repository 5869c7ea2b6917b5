/* Puts out the Python fields of its call; chains itself at another entry first. */
#include <stdio.h>
#include "faasm.h"

int main(void) {
    char *user = faasmGetPythonUser(), *func = faasmGetPythonFunc(), *entry = faasmGetPythonEntry();
    char text[512];
    if (strcmp(entry, "first") == 0) {
        char *output = NULL;
        int size = 0;
        int code = faasmAwaitCallOutput(faasmChainPy("second", "x", 1), &output, &size);
        faasmSetOutput(output, size);
        return code;
    }
    faasmSetOutput(text, snprintf(text, sizeof text, "%s/%s:%s", user, func, entry));
    return 0;
}
