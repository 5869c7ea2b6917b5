// build: reactor
/* Keeps a report in leased blocks and reads it back from there, by way of leased scratch memory.
 * With an input of eight bytes, a lease, it returns the report that the lease holds; with any other, it takes
 * a lease, stores the input, and returns a line with the lease's number in front of what it read back. */
#include <grafos.h>
#include <stdio.h>
#include <string.h>

enum { BLOCK = 512, KEEP_SECONDS = 3600, SCRATCH_SECONDS = 60 };

static uint8_t block[BLOCK];

static int put_back(uint64_t lease, char *output, uint32_t room) {
    uint32_t size;
    if (fbbu_read_block_lease(lease, 0, block)) return -10;
    memcpy(&size, block, sizeof size);
    if (size > room) return -11;
    for (uint32_t done = 0, at = 1; done < size; done += BLOCK, at++) {
        if (fbbu_read_block_lease(lease, at, block)) return -12;
        memcpy(output + done, block, size - done < BLOCK ? size - done : BLOCK);
    }
    return (int)size;
}

static int keep(const char *report, uint32_t size, uint64_t *lease) {
    struct fbbu_lease_info info;
    if (fbbu_alloc(1 + (size + BLOCK - 1) / BLOCK, KEEP_SECONDS, &info)) return -20;
    memset(block, 0, BLOCK);
    memcpy(block, &size, sizeof size);
    if (fbbu_write_block_lease(info.lease_id, 0, block)) return -21;
    for (uint32_t done = 0, at = 1; done < size; done += BLOCK, at++) {
        memset(block, 0, BLOCK);
        memcpy(block, report + done, size - done < BLOCK ? size - done : BLOCK);
        if (fbbu_write_block_lease(info.lease_id, at, block)) return -22;
    }
    *lease = info.lease_id;
    return 0;
}

/* Takes the report through leased memory, which is gone and wiped before the lease's time is up. */
static int rinse(char *report, uint32_t size) {
    struct fbmu_lease_info info;
    if (fbmu_alloc(size ? size : 1, SCRATCH_SECONDS, &info)) return -30;
    if (fbmu_write_lease(info.lease_id, 0, report, size)) return -31;
    memset(report, 0, size);
    if (fbmu_read_lease(info.lease_id, 0, report, size)) return -32;
    return fbmu_free(info.lease_id) ? -33 : 0;
}

__attribute__((export_name("tasklet_run")))
int tasklet_run(const char *input, uint32_t size, char *output, uint32_t room) {
    uint64_t lease;
    if (fbmu_hello() || fbbu_hello()) return -1;
    if (size == sizeof lease) {
        memcpy(&lease, input, sizeof lease);
        return put_back(lease, output, room);
    }
    int code = keep(input, size, &lease);
    if (code) return code;
    int head = snprintf(output, room, "kept in block lease %llu\n", (unsigned long long)lease);
    int got = put_back(lease, output + head, room - (uint32_t)head);
    if (got < 0) return got;
    code = rinse(output + head, (uint32_t)got);
    return code ? code : head + got;
}
