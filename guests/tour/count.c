// build: command
/* A WASI program: counts lines and bytes of the files named, or of its input. */
#include <stdio.h>

static int count(const char *name, FILE *file) {
    long lines = 0, bytes = 0;
    for (int c; (c = getc(file)) != EOF; bytes++) lines += c == '\n';
    printf("%6ld %8ld %s\n", lines, bytes, name);
    return 0;
}

int main(int argc, char **argv) {
    if (argc < 2) return count("-", stdin);
    for (int i = 1; i < argc; i++) {
        FILE *file = fopen(argv[i], "rb");
        if (!file) return perror(argv[i]), 1;
        count(argv[i], file);
        fclose(file);
    }
    return 0;
}
