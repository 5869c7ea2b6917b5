// Spawns the guest named by its argument, says "shout" to it, prints what it answers and leaves with its code.
#include <stdint.h>
#include <stdio.h>
#include <string.h>
#include <unistd.h>

#define WASIX(name) __attribute__((import_module("wasix_32v1"), import_name(name)))

typedef struct { uint8_t some; uint32_t fd; } option_fd;
typedef struct { uint32_t pid; option_fd in, out, err; } handles;

WASIX("proc_spawn") int spawn(const char *name, size_t name_len, int chroot, const char *args, size_t args_len,
    const char *preopen, size_t preopen_len, int in, int out, int err, const char *dir, size_t dir_len, handles *result);
WASIX("proc_join") int join(option_fd *pid, int flags, uint8_t *status);
WASIX("proc_id") int proc_id(uint32_t *pid);

int main(int argc, char **argv) {
    handles child;
    uint32_t own;
    proc_id(&own);
    int error = spawn(argv[1], strlen(argv[1]), 0, "", 0, "", 0, 0, 0, 2, "/", 1, &child);
    if (error) return 100 + error;
    write(child.in.fd, "shout", 5);
    close(child.in.fd);
    char text[100];
    long length = 0, count;
    while ((count = read(child.out.fd, text + length, sizeof text - length)) > 0) length += count;
    printf("child said: %.*s\n", (int)length, text);
    option_fd pid = {1, child.pid};
    uint8_t status[6];
    if (join(&pid, 0, status) || status[0] != 1) return 99;
    return status[2];
}
