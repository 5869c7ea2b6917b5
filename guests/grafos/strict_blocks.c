/* build: bare */
/* A device and leased blocks, checked to the letter. */
#include "strict.h"

static uint8_t raw[8192];
static uint8_t *const block = raw + 513;

static void use_device(void) {
    CHECK(fbbu_get_num_blocks() == FABRIC_DISCONNECTED);
    CHECK(fbbu_read_block(0, block) == FABRIC_DISCONNECTED && fbbu_write_block(0, block) == FABRIC_DISCONNECTED);
    CHECK(fbbu_hello() == FABRIC_OK);
    int64_t blocks = fbbu_get_num_blocks();
    fill(raw, 0xcc, sizeof raw);
    fill(block, 0x5a, 512);
    CHECK(blocks > 16 && fbbu_write_block(blocks - 1, block) == FABRIC_OK);
    fill(block, 1, 512);
    CHECK(fbbu_read_block(blocks - 1, block) == FABRIC_OK && is_all(block, 0x5a, 512));
    CHECK(block[-1] == 0xcc && block[512] == 0xcc);
    CHECK(fbbu_read_block(blocks, block) == FABRIC_CAPACITY_EXCEEDED);
    CHECK(fbbu_write_block(~0ull, block) == FABRIC_CAPACITY_EXCEEDED);
    CHECK(fbbu_read_block(0, NOWHERE) == FABRIC_INVALID);
}

static void use_lease(void) {
    struct fbbu_lease_info info, again;
    uint64_t until;
    CHECK(fbbu_alloc(0, 0, &info) == FABRIC_OK && info.num_blocks == 128 && info.block_size == FABRIC_BLOCK_SIZE);
    CHECK(info.status == LEASE_ACTIVE && is_all(info.zero, 0, sizeof info.zero));
    CHECK(fbbu_query(info.lease_id, &again) == FABRIC_OK && same(&info, &again, sizeof info));
    for (int i = 0; i < 128; i++) {
        CHECK(fbbu_read_block_lease(info.lease_id, i, block) == FABRIC_OK && is_all(block, 0, 512));
        fill(block, i + 1, 512);
        CHECK(fbbu_write_block_lease(info.lease_id, i, block) == FABRIC_OK);
    }
    for (int i = 0; i < 128; i++)
        CHECK(fbbu_read_block_lease(info.lease_id, i, block) == FABRIC_OK && is_all(block, i + 1, 512));
    CHECK(fbbu_read_block(0, block) == FABRIC_OK && is_all(block, 0, 512)); /* the device is another place */
    CHECK(fbbu_write_block_lease(info.lease_id, 128, block) == FABRIC_CAPACITY_EXCEEDED);
    CHECK(fbbu_renew(info.lease_id, 1000, &until) == FABRIC_OK && until > info.expires_at_unix_secs);
    CHECK(fbbu_free(info.lease_id) == FABRIC_OK && fbbu_free(info.lease_id) == FABRIC_REVOKED);
    CHECK(fbbu_read_block_lease(info.lease_id, 0, block) == FABRIC_REVOKED);
    CHECK(fbbu_renew(info.lease_id, 1, 0) == FABRIC_REVOKED);
    CHECK(fbbu_query(info.lease_id, &again) == FABRIC_OK && again.status == LEASE_REVOKED);
    CHECK(fbbu_alloc(fbbu_get_num_blocks() + 1, 1, &info) == FABRIC_CAPACITY_EXCEEDED);
}

ENTRY(const uint8_t *input, uint32_t length, uint8_t *output, uint32_t room) {
    (void)input, (void)length, (void)output, (void)room;
    wrong_line = 0;
    use_device();
    use_lease();
    return -wrong_line;
}
