/* Puts out its arguments, one per line. */
#include <stdio.h>
#include "faasm.h"

int main(int argc, char **argv) {
    char text[1024];
    int size = snprintf(text, sizeof text, "%d", argc);
    for (int i = 0; i < argc; i++) size += snprintf(text + size, sizeof text - (size_t)size, "\n%s", argv[i]);
    faasmSetOutput(text, size);
    return 0;
}
