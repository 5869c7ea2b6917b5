/* build: bare */
/* GPU sessions, network and tasklets, checked to the letter. With input: on a mock, which computes nothing. */
#include "strict.h"

static const char image[] =
    ".version 7.0\n.target sm_75\n.address_size 64\n"
    ".visible .entry twice(.param .u64 p, .param .u32 n) {\n"
    ".reg .pred %p<2>; .reg .b32 %r<6>; .reg .b64 %d<5>;\n"
    "ld.param.u64 %d1, [p]; ld.param.u32 %r1, [n];\n"
    "mov.u32 %r2, %ctaid.x; mov.u32 %r3, %ntid.x; mov.u32 %r4, %tid.x; mad.lo.u32 %r2, %r2, %r3, %r4;\n"
    "setp.ge.u32 %p1, %r2, %r1; @%p1 bra END;\n"
    "cvta.to.global.u64 %d1, %d1; mul.wide.u32 %d2, %r2, 4; add.u64 %d3, %d1, %d2;\n"
    "ld.global.u32 %r5, [%d3]; shl.b32 %r5, %r5, 1; st.global.u32 [%d3], %r5;\n"
    "END: ret; }\n";

/* (module (memory (export "memory") 1) (func (export "tasklet_run") (param i32 i32 i32 i32) (result i32) i32.const -7)) */
static const uint8_t module_bytes[] = {
    0, 'a', 's', 'm', 1, 0, 0, 0, 1, 9, 1, 0x60, 4, 0x7f, 0x7f, 0x7f, 0x7f, 1, 0x7f, 3, 2, 1, 0, 5, 3, 1, 0, 1,
    7, 24, 2, 6, 'm', 'e', 'm', 'o', 'r', 'y', 2, 0, 11, 't', 'a', 's', 'k', 'l', 'e', 't', '_', 'r', 'u', 'n', 0, 0,
    10, 6, 1, 4, 0, 0x41, 0x79, 0x0b};

static uint32_t numbers[64];
static uint8_t raw[256];

static void launch(uint64_t lease, uint64_t other, uint64_t pointer, int computes) {
    uint64_t module;
    struct gpu_dims dims = {{2, 1, 1}, {32, 1, 1}, 0};
    uint32_t sizes[2] = {8, 4};
    uint8_t *args = raw + 1;
    put_word(args, pointer);
    put_word(args + 8, 60);
    CHECK(gpu_session_module_load(lease, image, sizeof image - 1, &module) == FABRIC_OK);
    CHECK(gpu_session_launch(lease, module, "twice", 5, &dims, args, 12, sizes, 2) == FABRIC_OK);
    CHECK(gpu_session_launch(other, module, "twice", 5, &dims, args, 12, sizes, 2) == FABRIC_GPU(1));
    CHECK(gpu_session_launch(lease, module, "twice", 5, &dims, args, 11, sizes, 2) == FABRIC_GPU(5));
    if (computes) CHECK(gpu_session_launch(lease, module, "thrice", 6, &dims, args, 12, sizes, 2) == FABRIC_GPU(4));
    dims.block[0] = 2000;
    CHECK(gpu_session_launch(lease, module, "twice", 5, &dims, args, 12, sizes, 2) == FABRIC_GPU(5));
    CHECK(gpu_session_sync(lease) == FABRIC_OK);
    CHECK(gpu_session_module_unload(lease, module) == FABRIC_OK);
    CHECK(gpu_session_module_unload(lease, module) == FABRIC_GPU(1));
}

static void use_gpu(int computes) {
    uint64_t lease, other, mine, theirs, until, now = unix_time_secs();
    CHECK(gpu_lease_alloc(0, 65536, 60, &lease) == FABRIC_OK && gpu_lease_alloc(1, 4096, 60, &other) == FABRIC_OK);
    CHECK(gpu_lease_renew(lease, 100, &until) == FABRIC_OK && until >= now + 100);
    CHECK(gpu_lease_renew(lease, 100, 0) == FABRIC_OK && gpu_lease_query(lease) == LEASE_ACTIVE);
    CHECK(gpu_session_mem_alloc(lease, 0, &mine) == FABRIC_GPU(5));
    CHECK(gpu_session_mem_alloc(lease, 65537, &mine) == FABRIC_CAPACITY_EXCEEDED);
    CHECK(gpu_session_mem_alloc(lease, sizeof numbers, &mine) == FABRIC_OK && mine % 256 == 0);
    CHECK(gpu_session_mem_alloc(other, 16, &theirs) == FABRIC_OK);
    for (uint32_t i = 0; i < 64; i++) numbers[i] = i;
    CHECK(gpu_session_mem_write(lease, mine, 0, numbers, sizeof numbers) == FABRIC_OK);
    CHECK(gpu_session_mem_write(lease, mine, 1, numbers, sizeof numbers) == FABRIC_CAPACITY_EXCEEDED);
    launch(lease, other, mine, computes);
    CHECK(gpu_session_mem_read(lease, mine, 0, numbers, sizeof numbers) == FABRIC_OK);
    for (uint32_t i = 0; i < 64; i++) CHECK(numbers[i] == (computes && i < 60 ? 2 * i : i));
    CHECK(gpu_session_mem_read(other, theirs, 0, raw, 16) == FABRIC_OK && is_all(raw, 0, 16));
    CHECK(gpu_session_mem_free(lease, mine) == FABRIC_OK && gpu_session_mem_free(lease, mine) == FABRIC_GPU(1));
    CHECK(gpu_lease_free(lease) == FABRIC_OK && gpu_lease_free(lease) == FABRIC_REVOKED);
    CHECK(gpu_lease_query(lease) == LEASE_REVOKED && gpu_session_sync(lease) == FABRIC_REVOKED);
    CHECK(gpu_lease_query(12345) == FABRIC_NO_LEASE && gpu_lease_free(other) == FABRIC_OK);
}

static void use_network(void) {
    uint32_t length = 0;
    uint64_t bandwidth = 0;
    CHECK(net_hello(0, (char *)raw, 32, &length, &bandwidth) == FABRIC_OK && length > 0 && bandwidth > 0);
    CHECK(net_hello(0, (char *)raw, 1, &length, &bandwidth) == FABRIC_TOO_SMALL && length > 1);
    CHECK(net_hello(~0ull, (char *)raw, 32, &length, &bandwidth) == FABRIC_CAPACITY_EXCEEDED);
}

static void submit(int runs) {
    struct tasklet_request request = {.module = module_bytes, .module_length = sizeof module_bytes,
                                      .output = raw, .output_capacity = 10};
    struct tasklet_result result;
    CHECK(tasklet_submit(&request, &result) == FABRIC_OK && result.reason == TASKLET_FINISHED);
    if (runs) CHECK(result.exit_code == -7 && result.output_length == 0 && result.fuel_used > 0);
    request.flags = 1;
    CHECK(tasklet_submit(&request, &result) == FABRIC_INVALID);
    request.flags = 0;
    if (!runs) return;
    request.entry = "nope", request.entry_length = 4;
    CHECK(tasklet_submit(&request, &result) == FABRIC_OK && result.reason == TASKLET_NO_ENTRY);
    request.module_length = 5;
    CHECK(tasklet_submit(&request, &result) == FABRIC_OK && result.reason == TASKLET_BAD_MODULE);
}

ENTRY(const uint8_t *input, uint32_t length, uint8_t *output, uint32_t room) {
    (void)input, (void)output, (void)room;
    wrong_line = 0;
    use_gpu(length == 0);
    use_network();
    submit(length == 0);
    return -wrong_line;
}
