/* build: command */
/* Calls by starting the guest as a process (generation G3): writes its standard input, reads its standard output. */
#include <unistd.h>
#define CROSS_NAME "spawn"
#include "cross.h"

#define WASIX(name) __attribute__((import_module("wasix_32v1"), import_name(name)))

typedef struct { uint8_t some; uint32_t fd; } option_fd;
typedef struct { uint32_t pid; option_fd in, out, err; } handles;

WASIX("proc_spawn") int proc_spawn(const char *name, size_t name_len, int chroot, const char *args, size_t args_len,
    const char *preopen, size_t preopen_len, int in, int out, int err, const char *dir, size_t dir_len, handles *result);
WASIX("proc_join") int proc_join(option_fd *pid, int flags, uint8_t *status);

/* The code is the exit code, or 1000 and what proc_spawn answered. */
static void cross_call(const char *guest, const char *entry, const char *input, uint32_t size, cross_text *out) {
    char name[256] = "", buffer[CROSS_ROOM];
    handles child;
    uint8_t status[6];
    strcat(name, guest);
    if (*entry) strcat(strcat(name, "/"), entry);
    int error = proc_spawn(name, strlen(name), 0, "", 0, "", 0, 0, 0, 2, "/", 1, &child);
    if (error) {
        cross_put_code(out, 1000 + error);
        return;
    }
    write((int)child.in.fd, input, size);
    close((int)child.in.fd);
    static cross_text said;
    for (long n; (n = read((int)child.out.fd, buffer, sizeof buffer)) > 0;) cross_put(&said, buffer, (uint32_t)n);
    option_fd pid = {1, child.pid};
    int code = proc_join(&pid, 0, status) || status[0] != 1 ? 999 : (int16_t)(status[2] | status[3] << 8);
    cross_put_code(out, code);
    cross_put(out, said.data, said.size);
}

int main(void) {
    static char input[CROSS_ROOM];
    static cross_text out;
    uint32_t size = (uint32_t)fread(input, 1, sizeof input, stdin);
    int code = cross_serve(input, size, &out);
    fwrite(out.data, 1, out.size, stdout);
    return code;
}
