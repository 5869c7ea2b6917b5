// Connects to 127.0.0.1 at the port of its argument, prints what comes, leaves with the errno of connecting.
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <unistd.h>

#define WASIX(name) __attribute__((import_module("wasix_32v1"), import_name(name)))

WASIX("sock_open") int sock_open(int family, int type, int protocol, uint32_t *fd);
WASIX("sock_connect") int sock_connect(uint32_t fd, const void *address);

int main(int argc, char **argv) {
    struct { uint8_t family, pad; uint16_t port; uint8_t octets[16]; } address = {1, 0, atoi(argv[1]), {127, 0, 0, 1}};
    uint32_t fd;
    char text[100];
    long count;
    int error = sock_open(1, 1, 6, &fd);
    if (error || (error = sock_connect(fd, &address))) return error;
    while ((count = read(fd, text, sizeof text)) > 0) write(1, text, count);
    return 0;
}
