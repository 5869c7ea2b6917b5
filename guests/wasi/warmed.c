/* A program with a constructor and an export that warms it up: `main` tells how often each of them has run. */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

static volatile int built, warmed;
static char *learnt;

__attribute__((constructor)) static void construct(void) { built++; }

/* Keeps the first line of a file that is only there while it warms up. */
__attribute__((export_name("warm"))) int warm(void) {
    warmed += 10 * built;
    const char *path = getenv("LEARN");
    FILE *file = path ? fopen(path, "r") : 0;
    learnt = calloc(1, 64);
    if (file && fgets(learnt, 63, file)) learnt[strcspn(learnt, "\n")] = 0;
    return file && getenv("KEEP") ? 0 : file ? fclose(file) : 0;
}

int main(int argc, char **argv) {
    return printf("%d %d %s %s\n", built, warmed, learnt ? learnt : "-", argc > 1 ? argv[1] : "-") < 0;
}
