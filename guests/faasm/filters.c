// build: faasm-dl
/* A pipeline of filters that come as libraries: the input names them, and the file whose text goes through them.
 * The text is mapped, each filter is loaded when it is first named, and gets a table of functions of the program. */
#include <fcntl.h>
#include <stdio.h>
#include <sys/stat.h>
#include <unistd.h>
#include "faasm.h"

#define SHARED __attribute__((visibility("default"), used))

struct services { void *(*allocate)(size_t); void (*say)(const char *); int calls; };
typedef char *(*filter)(struct services *, const char *, int *);

static char log_[256];
static void say(const char *text) { strncat(log_, text, sizeof log_ - strlen(log_) - 1); }

/* Filters may call this by name, too. */
SHARED int filters_applied;
SHARED void count_one(void) { filters_applied++; }

static int fail(const char *what) {
    char text[600];
    const char *why = faasm_dlerror();
    faasmSetOutput(text, snprintf(text, sizeof text, "%s: %s", what, why ? why : "no reason"));
    return 0;
}

int main(void) {
    char input[256] = {0}, path[64], *rest = input;
    struct services services = {malloc, say, 0};
    struct stat status;
    faasmGetInput(input, sizeof input - 1);
    char *file = strsep(&rest, " ");
    int fd = open(file, O_RDONLY);
    if (fd < 0 || fstat(fd, &status)) return 1;
    size_t whole = ((size_t)status.st_size + 65535) / 65536 * 65536;
    char *mapped = faasm_mmap(NULL, (size_t)status.st_size, 1, 2, fd, 0), *text = mapped;
    if (mapped == (void *)-1 || close(fd)) return 2;
    int length = (int)status.st_size;
    for (char *name; (name = strsep(&rest, " "));) {
        snprintf(path, sizeof path, "/lib/filters/%s.so", name);
        int library = faasm_dlopen(path, 2);
        if (!library) return fail("cannot load");
        filter apply = (filter)faasm_dlsym(library, "apply");
        if (!apply) return fail("cannot use");
        char *result = apply(&services, text, &length);
        if (!result) return 3;
        if (text != mapped) free(text);
        text = result;
        faasm_dlclose(library);
    }
    int main_program = faasm_dlopen(NULL, 0);
    if (*(int *)faasm_dlsym(main_program, "filters_applied") != services.calls) return 4;
    char *out = malloc((size_t)length + sizeof log_ + 64);
    int size = snprintf(out, (size_t)length + sizeof log_ + 64, "%.*s|%s|%d", length, text, log_, services.calls);
    faasmSetOutput(out, size);
    if (text != mapped) free(text);
    void *before = faasm_sbrk(0);
    void *more = faasm_mmap(NULL, 3 * 65536, 3, 0x22, -1, 0); /* what is at the end can be given back */
    if (more != before || faasm_munmap(more, 3 * 65536) || faasm_sbrk(0) != before) return 5;
    return faasm_munmap(mapped, whole) ? 6 : 0; /* what is in the middle is let go of, too */
}
