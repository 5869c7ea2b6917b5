/* grafOS fabric programs in C, for any compiler that targets wasm32.
 *
 *     #include "grafos.h"
 *
 *     struct fbmu_lease_info lease;
 *     if (fbmu_alloc(4096, 60, &lease) == FABRIC_OK)
 *         fbmu_write_lease(lease.lease_id, 0, "hello", 5);
 *
 * Every function returns FABRIC_OK or one of the negative codes below, unless it says otherwise. Offsets,
 * block numbers, lease ids, device pointers and times to live are unsigned 64-bit numbers.
 */
#ifndef GUESTHOUSE_SDK_GRAFOS_H
#define GUESTHOUSE_SDK_GRAFOS_H

#include <stdint.h>

#ifdef __cplusplus
extern "C" {
#endif

#define GRAFOS_IMPORT(module, name) __attribute__((import_module(module), import_name(name)))
#define GRAFOS_EXPORT(name) __attribute__((export_name(name), used, visibility("default")))
#define GRAFOS_FBMU(name) GRAFOS_IMPORT("fabricbios_fbmu_v0", name)
#define GRAFOS_FBBU(name) GRAFOS_IMPORT("fabricbios_fbbu_v0", name)
#define GRAFOS_GPU(name) GRAFOS_IMPORT("fabricbios_gpu_v1", name)

enum fabric_code {
    FABRIC_OK = 0,
    FABRIC_DISCONNECTED = -1,
    FABRIC_LEASE_EXPIRED = -2,
    FABRIC_FENCED = -3,
    FABRIC_CAPACITY_EXCEEDED = -4,
    FABRIC_UNSUPPORTED = -5,
    FABRIC_REVOKED = -6,
    FABRIC_INVALID = -7,        /* a range outside the memory, or a malformed argument */
    FABRIC_NO_LEASE = -8,       /* no such lease for this tenant */
    FABRIC_TOO_SMALL = -9,      /* an output buffer is too small; the needed size was stored */
    FABRIC_BUSY = -10,
    FABRIC_INTERNAL = -11,
};

/* A GPU session failed with code c (1..255) when the result is FABRIC_GPU(c). */
#define FABRIC_GPU(c) (-(256 + (c)))

enum fabric_lease_status { LEASE_ACTIVE = 0, LEASE_EXPIRED = 1, LEASE_REVOKED = 2, LEASE_FENCED = 3 };

#define FABRIC_BLOCK_SIZE 512

/* --- memory units ---------------------------------------------------------------------------------- */

struct fbmu_lease_info {
    uint64_t lease_id;
    uint64_t capacity_bytes;
    uint64_t expires_at_unix_secs;
    uint8_t status;
    uint8_t zero[7];
};

GRAFOS_FBMU("fbmu_hello") int fbmu_hello(void);
GRAFOS_FBMU("fbmu_get_arena_size") int64_t fbmu_get_arena_size(void); /* bytes, or a negative code */
GRAFOS_FBMU("fbmu_read") int fbmu_read(uint64_t offset, void *data, uint32_t length);
GRAFOS_FBMU("fbmu_write") int fbmu_write(uint64_t offset, const void *data, uint32_t length);
GRAFOS_FBMU("fbmu_alloc") int fbmu_alloc(uint64_t min_bytes, uint64_t ttl_secs, struct fbmu_lease_info *info);
GRAFOS_FBMU("fbmu_renew") int fbmu_renew(uint64_t lease, uint64_t ttl_secs, uint64_t *expires);
GRAFOS_FBMU("fbmu_free") int fbmu_free(uint64_t lease);
GRAFOS_FBMU("fbmu_query") int fbmu_query(uint64_t lease, struct fbmu_lease_info *info);
GRAFOS_FBMU("fbmu_read_lease")
int fbmu_read_lease(uint64_t lease, uint64_t offset, void *data, uint32_t length);
GRAFOS_FBMU("fbmu_write_lease")
int fbmu_write_lease(uint64_t lease, uint64_t offset, const void *data, uint32_t length);
GRAFOS_FBMU("unix_time_secs") int64_t unix_time_secs(void); /* the clock of the leases */

/* --- block units ----------------------------------------------------------------------------------- */

struct fbbu_lease_info {
    uint64_t lease_id;
    uint64_t num_blocks;
    uint64_t expires_at_unix_secs;
    uint32_t block_size;
    uint8_t status;
    uint8_t zero[3];
};

GRAFOS_FBBU("fbbu_hello") int fbbu_hello(void);
GRAFOS_FBBU("fbbu_get_num_blocks") int64_t fbbu_get_num_blocks(void); /* blocks, or a negative code */
GRAFOS_FBBU("fbbu_read_block") int fbbu_read_block(uint64_t lba, void *block);
GRAFOS_FBBU("fbbu_write_block") int fbbu_write_block(uint64_t lba, const void *block);
GRAFOS_FBBU("fbbu_alloc") int fbbu_alloc(uint64_t min_blocks, uint64_t ttl_secs, struct fbbu_lease_info *info);
GRAFOS_FBBU("fbbu_renew") int fbbu_renew(uint64_t lease, uint64_t ttl_secs, uint64_t *expires);
GRAFOS_FBBU("fbbu_free") int fbbu_free(uint64_t lease);
GRAFOS_FBBU("fbbu_query") int fbbu_query(uint64_t lease, struct fbbu_lease_info *info);
GRAFOS_FBBU("fbbu_read_block_lease") int fbbu_read_block_lease(uint64_t lease, uint64_t lba, void *block);
GRAFOS_FBBU("fbbu_write_block_lease")
int fbbu_write_block_lease(uint64_t lease, uint64_t lba, const void *block);

/* --- GPU sessions ---------------------------------------------------------------------------------- */

struct gpu_dims {
    uint32_t grid[3];
    uint32_t block[3];
    uint32_t shared_bytes;
};

GRAFOS_GPU("gpu_lease_alloc")
int gpu_lease_alloc(uint64_t resource, uint64_t min_vram_bytes, uint64_t ttl_secs, uint64_t *lease);
GRAFOS_GPU("gpu_lease_renew") int gpu_lease_renew(uint64_t lease, uint64_t ttl_secs, uint64_t *expires);
GRAFOS_GPU("gpu_lease_free") int gpu_lease_free(uint64_t lease);
GRAFOS_GPU("gpu_lease_query") int gpu_lease_query(uint64_t lease); /* a lease status, or a negative code */
GRAFOS_GPU("gpu_session_mem_alloc") int gpu_session_mem_alloc(uint64_t lease, uint64_t size, uint64_t *dptr);
GRAFOS_GPU("gpu_session_mem_free") int gpu_session_mem_free(uint64_t lease, uint64_t dptr);
GRAFOS_GPU("gpu_session_mem_write")
int gpu_session_mem_write(uint64_t lease, uint64_t dptr, uint64_t offset, const void *data, uint32_t length);
GRAFOS_GPU("gpu_session_mem_read")
int gpu_session_mem_read(uint64_t lease, uint64_t dptr, uint64_t offset, void *data, uint32_t length);
GRAFOS_GPU("gpu_session_module_load")
int gpu_session_module_load(uint64_t lease, const void *image, uint32_t length, uint64_t *module);
GRAFOS_GPU("gpu_session_module_unload") int gpu_session_module_unload(uint64_t lease, uint64_t module);
GRAFOS_GPU("gpu_session_launch")
int gpu_session_launch(uint64_t lease, uint64_t module, const char *name, uint32_t name_length,
                       const struct gpu_dims *dims, const void *args, uint32_t args_length,
                       const uint32_t *sizes, uint32_t n_args);
GRAFOS_GPU("gpu_session_sync") int gpu_session_sync(uint64_t lease);

/* --- network and tasklets --------------------------------------------------------------------------- */

GRAFOS_IMPORT("fabricbios_net_v0", "net_hello")
int net_hello(uint64_t min_bandwidth_bps, char *name, uint32_t name_capacity, uint32_t *name_length,
              uint64_t *bandwidth_bps);

struct tasklet_request {
    const void *module;
    uint32_t module_length;
    const char *entry; /* NULL: tasklet_run */
    uint32_t entry_length;
    const void *input;
    uint32_t input_length;
    void *output;
    uint32_t output_capacity;
    uint64_t fuel;       /* 0: 500 000 instructions */
    uint64_t max_memory; /* 0: 32 MiB */
    uint32_t deadline_ms; /* 0: 30 000 */
    uint32_t flags;      /* 0 */
};

enum tasklet_reason {
    TASKLET_FINISHED = 0,
    TASKLET_TRAP = 1,
    TASKLET_FUEL = 2,
    TASKLET_MEMORY = 3,
    TASKLET_DEADLINE = 4,
    TASKLET_BAD_MODULE = 5,
    TASKLET_NO_ENTRY = 6,
    TASKLET_OUTPUT = 7,
};

struct tasklet_result {
    int32_t exit_code;
    uint32_t output_length;
    uint64_t fuel_used;
    uint32_t reason;
    uint32_t zero;
};

GRAFOS_IMPORT("fabricbios_cpu_v0", "tasklet_submit")
int tasklet_submit(const struct tasklet_request *request, struct tasklet_result *result);

#ifdef __cplusplus
#define GRAFOS_ASSERT static_assert
#else
#define GRAFOS_ASSERT _Static_assert
#endif
#ifdef __wasm32__
GRAFOS_ASSERT(sizeof(struct fbmu_lease_info) == 32, "fbmu_lease_info");
GRAFOS_ASSERT(sizeof(struct fbbu_lease_info) == 32, "fbbu_lease_info");
GRAFOS_ASSERT(sizeof(struct tasklet_request) == 56, "tasklet_request");
GRAFOS_ASSERT(sizeof(struct tasklet_result) == 24, "tasklet_result");
#endif

#ifdef __cplusplus
}
#endif

#endif
