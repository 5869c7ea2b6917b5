// Nanoseconds per file operation, as "name value" lines; argv: a directory, milliseconds per operation.
// The same source is compiled for wasm and natively, so that the rows can be set side by side.
#include <dirent.h>
#include <fcntl.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <time.h>
#include <unistd.h>

static char path[300], listed[300], other[300], block[4096];
static int file;
static volatile long sink;

static double now(void) {
    struct timespec t;
    clock_gettime(CLOCK_MONOTONIC, &t);
    return t.tv_sec * 1e9 + t.tv_nsec;
}

static void op_read(void) { sink += pread(file, block, sizeof block, 0); }
static void op_write(void) { sink += pwrite(file, block, sizeof block, 0); }
static void op_seek(void) { sink += lseek(file, 100, SEEK_SET); }
static void op_open(void) { close(open(path, O_RDONLY)); }
static void op_open_others(void) {
    static int number;
    snprintf(other, sizeof other, "%s/entry-%05d", listed, number++ % 10000);
    close(open(other, O_RDONLY));
}
static void op_clock(void) { struct timespec t; sink += clock_gettime(CLOCK_MONOTONIC, &t); }
static void op_random(void) { sink += getentropy(block, 32); }
static void op_stat(void) { struct stat s; sink += stat(path, &s); }
static void op_list(void) {
    DIR *dir = opendir(listed);
    for (struct dirent *entry; (entry = readdir(dir));) sink += entry->d_name[0];
    closedir(dir);
}

// The best of several batches; `step` operations between two looks at the clock.
static void run(const char *name, void (*op)(void), double budget, int batches, int step) {
    double best = 1e30;
    op();
    for (int batch = 0; batch < batches; batch++) {
        long count = 0;
        double start = now(), spent;
        do {
            for (int i = 0; i < step; i++, count++) op();
            spent = now() - start;
        } while (spent < budget / batches);
        if (spent / count < best) best = spent / count;
    }
    printf("%s %.1f\n", name, best);
}

int main(int argc, char **argv) {
    double budget = atof(argv[2]) * 1e6;
    snprintf(path, sizeof path, "%s/sub/file", argv[1]);
    snprintf(listed, sizeof listed, "%s/many", argv[1]);
    file = open(path, O_RDWR);
    if (file < 0) return perror("open"), 1;
    run("read 4 KiB", op_read, budget, 10, 32);
    run("write 4 KiB", op_write, budget, 10, 32);
    run("seek", op_seek, budget, 10, 32);
    run("open + close", op_open, budget, 10, 32);
    run("open + close, others", op_open_others, budget, 10, 32);
    run("stat", op_stat, budget, 10, 32);
    run("clock", op_clock, budget, 10, 32);
    run("random 32 bytes", op_random, budget, 10, 32);
    run("list 10 000 entries", op_list, budget, 2, 1);
    return 0;
}
