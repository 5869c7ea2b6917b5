/* Prints on both streams and puts something out; returns what its input says. */
#include <stdio.h>
#include "faasm.h"

int main(void) {
    printf("stdin=%d  stdout=%d  stderr=%d\n", 0, 1, 2);
    fflush(stdout);
    fprintf(stderr, "This is for stderr\n");
    faasmSetOutput("written", 7);
    char text[8] = {0};
    faasmGetInput(text, sizeof text - 1);
    return atoi(text);
}
