// build: reactor
/* Calls every function of the fabric once with good arguments, in the order a program would, and reports each
 * result. Input: a kernel image for the GPU. Output: one line per function, "name result".
 */
#include <stdio.h>
#include <string.h>

#include "grafos.h"

static char *out;
static int room, used;

static long long report(const char *name, long long result) {
    int n = snprintf(out + used, (size_t)(room - used), "%s %lld\n", name, result);
    if (n > 0 && used + n <= room) used += n;
    return result;
}

#define CALL(function, ...) report(#function, function(__VA_ARGS__))
#define CHECK(name, condition) report(name, (condition) ? 1 : 0)

static void memory(void) {
    struct fbmu_lease_info info, again;
    char text[32] = "leased memory", back[32] = {0};
    uint64_t expires = 0;
    CALL(fbmu_hello);
    CALL(fbmu_get_arena_size);
    CALL(fbmu_write, 100, text, sizeof text);
    CALL(fbmu_read, 100, back, sizeof back);
    CHECK("window", memcmp(text, back, sizeof text) == 0);
    CALL(fbmu_alloc, 4096, 60, &info);
    CALL(fbmu_write_lease, info.lease_id, 4096 - sizeof text, text, sizeof text);
    memset(back, 0, sizeof back);
    CALL(fbmu_read_lease, info.lease_id, 4096 - sizeof text, back, sizeof back);
    CHECK("lease", memcmp(text, back, sizeof text) == 0);
    CALL(fbmu_renew, info.lease_id, 120, &expires);
    CALL(fbmu_query, info.lease_id, &again);
    CHECK("renewed", again.expires_at_unix_secs == expires && expires >= info.expires_at_unix_secs);
    CHECK("clock", unix_time_secs() <= (int64_t)info.expires_at_unix_secs);
    CALL(fbmu_free, info.lease_id);
    fbmu_query(info.lease_id, &again);
    CHECK("revoked", again.status == LEASE_REVOKED);
}

static void blocks(void) {
    static uint8_t block[FABRIC_BLOCK_SIZE], back[FABRIC_BLOCK_SIZE];
    struct fbbu_lease_info info, again;
    uint64_t expires = 0;
    for (int i = 0; i < FABRIC_BLOCK_SIZE; i++) block[i] = (uint8_t)(i * 7);
    CALL(fbbu_hello);
    CALL(fbbu_get_num_blocks);
    CALL(fbbu_write_block, 3, block);
    CALL(fbbu_read_block, 3, back);
    CHECK("device", memcmp(block, back, sizeof block) == 0);
    CALL(fbbu_alloc, 4, 60, &info);
    CALL(fbbu_write_block_lease, info.lease_id, 3, block);
    memset(back, 0, sizeof back);
    CALL(fbbu_read_block_lease, info.lease_id, 3, back);
    CHECK("blocks", memcmp(block, back, sizeof block) == 0);
    CALL(fbbu_renew, info.lease_id, 120, &expires);
    CALL(fbbu_query, info.lease_id, &again);
    CHECK("renewed", again.expires_at_unix_secs == expires && again.block_size == FABRIC_BLOCK_SIZE);
    CALL(fbbu_free, info.lease_id);
}

static void gpu(const void *image, uint32_t length) {
    static float a[1000], b[1000], sum[1000];
    struct gpu_dims dims = {{4, 1, 1}, {256, 1, 1}, 0};
    struct { uint64_t a, b, out; uint32_t n; } __attribute__((packed)) args;
    uint32_t sizes[4] = {8, 8, 8, 4};
    uint64_t lease = 0, module = 0, expires = 0;
    int right = 1;
    for (int i = 0; i < 1000; i++) a[i] = (float)i * 0.5f, b[i] = 1000.0f / (float)(i + 1);
    args.n = 1000;
    CALL(gpu_lease_alloc, 0, 1 << 20, 60, &lease);
    CALL(gpu_lease_renew, lease, 90, &expires);
    CALL(gpu_lease_query, lease);
    CALL(gpu_session_mem_alloc, lease, sizeof a, &args.a);
    gpu_session_mem_alloc(lease, sizeof b, &args.b);
    gpu_session_mem_alloc(lease, sizeof sum, &args.out);
    CALL(gpu_session_mem_write, lease, args.a, 0, a, sizeof a);
    gpu_session_mem_write(lease, args.b, 0, b, sizeof b);
    CALL(gpu_session_module_load, lease, image, length, &module);
    CALL(gpu_session_launch, lease, module, "vector_add_f32", 14, &dims, &args, sizeof args, sizes, 4);
    CALL(gpu_session_sync, lease);
    CALL(gpu_session_mem_read, lease, args.out, 0, sum, sizeof sum);
    for (int i = 0; i < 1000; i++) right &= sum[i] == a[i] + b[i];
    CHECK("sums", right);
    CALL(gpu_session_module_unload, lease, module);
    CALL(gpu_session_mem_free, lease, args.a);
    CALL(gpu_lease_free, lease);
}

static void network(void) {
    char name[64];
    uint32_t length = 0;
    uint64_t bandwidth = 0;
    CALL(net_hello, 0, name, sizeof name, &length, &bandwidth);
    report("bandwidth", (long long)bandwidth);
}

/* A tasklet that answers its input: (module (memory (export "memory") 1) (func (export "tasklet_run") ...)). */
static const uint8_t ECHO[] = {
    0x00, 'a', 's', 'm', 1, 0, 0, 0,
    1, 9, 1, 0x60, 4, 0x7f, 0x7f, 0x7f, 0x7f, 1, 0x7f,
    3, 2, 1, 0,
    5, 3, 1, 0, 1,
    7, 24, 2, 6, 'm', 'e', 'm', 'o', 'r', 'y', 2, 0, 11, 't', 'a', 's', 'k', 'l', 'e', 't', '_', 'r', 'u', 'n', 0, 0,
    10, 16, 1, 14, 0, 0x20, 2, 0x20, 0, 0x20, 1, 0xfc, 10, 0, 0, 0x20, 1, 0x0b,
};

static void tasklet(void) {
    char echoed[16] = {0};
    struct tasklet_request request = {
        .module = ECHO, .module_length = sizeof ECHO, .input = "echo me", .input_length = 7,
        .output = echoed, .output_capacity = sizeof echoed,
    };
    struct tasklet_result result = {0};
    CALL(tasklet_submit, &request, &result);
    report("reason", result.reason);
    report("output", result.output_length);
    CHECK("echoed", memcmp(echoed, "echo me", 7) == 0);
}

GRAFOS_EXPORT("tasklet_run") int tasklet_run(const void *input, int length, char *output, int capacity) {
    out = output, room = capacity, used = 0;
    memory();
    blocks();
    gpu(input, (uint32_t)length);
    network();
    tasklet();
    return used;
}
