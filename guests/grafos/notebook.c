// build: reactor
/* Keeps the last report that it was given in leased blocks, over restarts of the host: fed with a text it stores
 * it, with nothing it gives the text back. The id of the lease stands in the first block of the tenant's device.
 */
#include <string.h>

#include "grafos.h"

#define TTL 86400
#define MAGIC 0x4b4f4f4245544f4eull

struct cover {
    uint64_t magic, lease, length;
    uint8_t rest[FABRIC_BLOCK_SIZE - 24];
};

static struct cover cover;
static uint8_t page[FABRIC_BLOCK_SIZE];

static int store(const uint8_t *text, uint32_t length) {
    /* The text goes through scratch memory first, as a program would that works on it. */
    struct fbmu_lease_info scratch;
    struct fbbu_lease_info shelf;
    uint32_t blocks = (length + FABRIC_BLOCK_SIZE - 1) / FABRIC_BLOCK_SIZE;
    int code = fbmu_alloc(length, 60, &scratch);
    if (code) return code;
    if ((code = fbmu_write_lease(scratch.lease_id, 0, text, length))) return code;
    if ((code = fbbu_alloc(blocks, TTL, &shelf))) return code;
    for (uint32_t at = 0; at < blocks; at++) {
        uint32_t offset = at * FABRIC_BLOCK_SIZE, size = length - offset;
        if (size > FABRIC_BLOCK_SIZE) size = FABRIC_BLOCK_SIZE;
        memset(page, 0, sizeof page);
        if ((code = fbmu_read_lease(scratch.lease_id, offset, page, size))) return code;
        if ((code = fbbu_write_block_lease(shelf.lease_id, at, page))) return code;
    }
    if (cover.magic == MAGIC) fbbu_free(cover.lease); /* the former text, if its lease still runs */
    cover.magic = MAGIC, cover.lease = shelf.lease_id, cover.length = length;
    if ((code = fbbu_write_block(0, &cover))) return code;
    return fbmu_free(scratch.lease_id);
}

static int fetch(uint8_t *text, uint32_t capacity) {
    if (cover.magic != MAGIC || cover.length > capacity) return FABRIC_NO_LEASE;
    for (uint32_t at = 0; at < cover.length; at += FABRIC_BLOCK_SIZE) {
        uint32_t size = (uint32_t)cover.length - at;
        int code = fbbu_read_block_lease(cover.lease, at / FABRIC_BLOCK_SIZE, page);
        if (code) return code;
        memcpy(text + at, page, size < FABRIC_BLOCK_SIZE ? size : FABRIC_BLOCK_SIZE);
    }
    return (int)cover.length;
}

GRAFOS_EXPORT("tasklet_run")
int tasklet_run(const uint8_t *input, uint32_t length, uint8_t *output, uint32_t capacity) {
    int code = fbbu_hello();
    if (code == 0) code = fbbu_read_block(0, &cover);
    if (code) return code;
    return length ? store(input, length) : fetch(output, capacity);
}
