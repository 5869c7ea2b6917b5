/* A file's bytes become a value. */
#include <stdio.h>
#include "faasm.h"

int main(void) {
    char copy[17];
    FILE *file = fopen("/dummy.txt", "w");
    if (!file) return 1;
    fputs("blah blah foo foo", file);
    fclose(file);
    if (faasmWriteStateFromFile("state_file", "/dummy.txt") != 17) return 2;
    faasmReadState("state_file", copy, 17);
    return memcmp(copy, "blah blah foo foo", 17) != 0;
}
