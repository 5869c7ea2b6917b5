/* build: bare */
/* Leased memory, checked to the letter. Without input it leaves a lease and answers with its id; with an id as input
 * it goes on with that lease, as an instance after the one that made it would. */
#include "strict.h"

static uint8_t raw[4096];

static int go_on(uint64_t lease) {
    struct fbmu_lease_info *info = (void *)(raw + 1);
    CHECK(fbmu_query(lease, info) == FABRIC_OK && info->status == LEASE_ACTIVE);
    CHECK(fbmu_read_lease(lease, 77, raw + 203, 5) == FABRIC_OK && same(raw + 203, "hello", 5));
    CHECK(fbmu_renew(lease, 86400, 0) == FABRIC_OK);
    CHECK(fbmu_free(lease) == FABRIC_OK && fbmu_free(lease) == FABRIC_REVOKED);
    CHECK(fbmu_read_lease(lease, 77, raw + 203, 5) == FABRIC_REVOKED);
    return -wrong_line;
}

static void use_window(void) {
    CHECK(fbmu_read(0, raw, 1) == FABRIC_DISCONNECTED && fbmu_write(0, raw, 1) == FABRIC_DISCONNECTED);
    CHECK(fbmu_get_arena_size() == FABRIC_DISCONNECTED);
    CHECK(fbmu_hello() == FABRIC_OK && fbmu_hello() == FABRIC_OK);
    int64_t size = fbmu_get_arena_size();
    CHECK(size > 0 && fbmu_write(size - 1, "x", 1) == FABRIC_OK);
    CHECK(fbmu_read(size - 1, raw + 3, 1) == FABRIC_OK && raw[3] == 'x');
    CHECK(fbmu_write(size, "", 0) == FABRIC_OK && fbmu_write(size + 1, "", 0) == FABRIC_CAPACITY_EXCEEDED);
}

static uint64_t use_lease(void) {
    uint64_t now = unix_time_secs();
    fill(raw, 0xee, sizeof raw);
    CHECK(fbmu_alloc(100, 60, (void *)(raw + 1)) == FABRIC_OK && raw[0] == 0xee && raw[33] == 0xee);
    uint64_t lease = word_at(raw + 1), expires = word_at(raw + 17);
    CHECK(lease != 0 && lease >> 63 == 0 && word_at(raw + 9) == 100 && is_all(raw + 25, 0, 8));
    CHECK(expires >= now + 60 && expires <= now + 62);
    CHECK(fbmu_read_lease(lease, 0, raw + 7, 100) == FABRIC_OK && is_all(raw + 7, 0, 100));
    CHECK(fbmu_write_lease(lease, 77, "hello", 5) == FABRIC_OK);
    CHECK(fbmu_write_lease(lease, 96, "hello", 5) == FABRIC_CAPACITY_EXCEEDED);
    CHECK(fbmu_write_lease(lease, ~0ull, "hello", 5) == FABRIC_CAPACITY_EXCEEDED);
    CHECK(fbmu_write_lease(lease, ~0ull - 4, "hello", 5) == FABRIC_CAPACITY_EXCEEDED);
    CHECK(fbmu_renew(lease, 0, (void *)(raw + 101)) == FABRIC_OK && word_at(raw + 101) >= now + 300);
    CHECK(fbmu_renew(lease, ~0ull, (void *)(raw + 101)) == FABRIC_OK && word_at(raw + 101) <= now + 86402);
    return lease;
}

ENTRY(const uint8_t *input, uint32_t length, uint8_t *output, uint32_t room) {
    (void)room;
    wrong_line = 0;
    if (length == 8) return go_on(word_at(input));
    use_window();
    uint64_t lease = use_lease();
    CHECK(fbmu_write_lease(lease + 1, 0, "x", 1) == FABRIC_NO_LEASE && fbmu_query(0, (void *)raw) == FABRIC_NO_LEASE);
    CHECK(fbmu_alloc(100, 60, 0) == FABRIC_INVALID && fbmu_alloc(100, 60, NOWHERE) == FABRIC_INVALID);
    CHECK(fbmu_read_lease(lease, 0, NOWHERE, 0x20) == FABRIC_INVALID);
    put_word(output, lease);
    return wrong_line ? -wrong_line : 8;
}
