/* Prints on both streams and puts something out. */
#include <stdio.h>
#include "faasm.h"

int main(void) {
    printf("stdin=%d  stdout=%d  stderr=%d\n", 0, 1, 2);
    fflush(stdout);
    fprintf(stderr, "This is for stderr\n");
    faasmSetOutput("written", 7);
    return 0;
}
