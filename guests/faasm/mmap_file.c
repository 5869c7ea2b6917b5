/* Maps /etc/hosts, whole and from an offset. */
#include <fcntl.h>
#include "faasm.h"

int main(void) {
    int fd = open("/etc/hosts", O_RDONLY);
    if (fd < 0) return 1;
    const char *text = faasm_mmap(NULL, 4096, 1, 2, fd, 0);
    if (text == (void *)-1 || memcmp(text, "127.0.0.1", 9)) return 2;
    const char *tail = faasm_mmap(NULL, 100, 1, 2, fd, 4);
    return tail == (void *)-1 || memcmp(tail, text + 4, 5) ? 3 : 0;
}
