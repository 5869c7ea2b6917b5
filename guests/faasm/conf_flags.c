/* Asks for every flag. */
#include <stdio.h>
#include "faasm.h"

int main(void) {
    char text[64];
    int size = snprintf(text, sizeof text, "%d%d%d%d", getConfFlag("ALWAYS_ON"), getConfFlag("ALWAYS_OFF"),
                        getConfFlag("PYTHON_PRELOAD"), getConfFlag("NOBODY_KNOWS"));
    faasmSetOutput(text, size);
    return 0;
}
