/* One command that shows each side of a command: arguments, environment, streams, files, exit, failure. */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

static int is(const char *word, const char *name) { return strcmp(word, name) == 0; }

static int copy(int from, int to) {
    char buffer[4096];
    ssize_t size;
    while ((size = read(from, buffer, sizeof buffer)) > 0)
        if (write(to, buffer, (size_t)size) != size) return 1;
    return size < 0;
}

static int show_file(const char *path) {
    FILE *file = fopen(path, "r");
    if (!file) return perror(path), 1;
    int failed = copy(fileno(file), 1);
    fclose(file);
    return failed;
}

static int write_file(const char *path) {
    FILE *file = fopen(path, "w");
    if (!file) return perror(path), 1;
    fputs("written", file);
    return fclose(file) != 0;
}

int main(int count, char **words) {
    const char *verb = count > 1 ? words[1] : "args";
    const char *object = count > 2 ? words[2] : "";
    if (is(verb, "args")) {
        for (int i = 2; i < count; i++) printf("[%s]", words[i]);
        return 0;
    }
    if (is(verb, "env")) return getenv(object) ? fputs(getenv(object), stdout) < 0 : 1;
    if (is(verb, "exit")) return atoi(object);
    if (is(verb, "cat")) return copy(0, 1);
    if (is(verb, "read")) return show_file(object);
    if (is(verb, "write")) return write_file(object);
    if (is(verb, "trap")) __builtin_trap();
    if (is(verb, "ready-spin")) write(1, "ready", 5);
    for (volatile int forever = 1; forever;) {}
    return 0;
}
