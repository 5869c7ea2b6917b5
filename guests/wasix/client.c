// Opens the guest "server" on the bus, calls it with 21 and prints its answer. Generation G2.
#include <stdint.h>
#include <stdio.h>
#include <unistd.h>

#define WASIX(name) __attribute__((import_module("wasix_32v1"), import_name(name)))

typedef struct { uint8_t tag, pad0[7], format, pad1[7]; uint64_t cid; uint32_t fd, pad2[9]; } bus_event;

WASIX("bus_open_local") int bus_open_local(const char *name, size_t length, int reuse, uint32_t *bid);
WASIX("bus_call") int bus_call(uint32_t bid, const void *topic, int format, const void *data, size_t n, uint64_t *cid);
WASIX("bus_poll") int bus_poll(uint64_t timeout, bus_event *events, size_t n, size_t *found);

int main(void) {
    uint32_t bid;
    uint64_t cid;
    bus_event event;
    size_t found = 0;
    static const uint64_t topic[2] = {1, 2};
    int32_t number = 21;
    if (bus_open_local("server", 6, 0, &bid)) return 1;
    if (bus_call(bid, topic, 0, &number, 4, &cid)) return 2;
    if (bus_poll(10000000000ull, &event, 1, &found) || found != 1 || event.tag != 3 || event.cid != cid) return 3;
    if (read(event.fd, &number, 4) != 4) return 4;
    printf("answer: %d\n", number);
    return 0;
}
