/* Pulp cells in C: the host's imports, the exports' names, and enough MessagePack for both.
 *
 * Build as a reactor:  zig cc -target wasm32-wasi -mexec-model=reactor -O2 cell.c -o cell.wasm
 * Say PULP_CELL once, then define pulp_init, pulp_step, pulp_shutdown with PULP_EXPORT.
 */
#ifndef GUESTHOUSE_PULP_H
#define GUESTHOUSE_PULP_H

#include <stddef.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>

#define PULP_EXPORT(name) __attribute__((export_name(#name), used))
#define PULP_IMPORT(name) __attribute__((import_module("pulp"), import_name(#name)))

/* --- imports ---------------------------------------------------------------------------------------- */

/* (request) */
#define PULP_REQ(name) PULP_IMPORT(name) int32_t name(const void *req, uint32_t len)
/* (request) -> reply in a block that the guest owns */
#define PULP_REQ_RESP(name) \
    PULP_IMPORT(name) int32_t name(const void *req, uint32_t len, uint32_t *ptr_out, uint32_t *len_out)

/* always there */
PULP_IMPORT(pulp_call)
int32_t pulp_call(const char *target, uint32_t target_len, const char *func, uint32_t func_len, const void *args,
                  uint32_t args_len, uint32_t *ptr_out, uint32_t *len_out);
PULP_IMPORT(pulp_app_call_v1)
int32_t pulp_app_call_v1(const char *app, uint32_t app_len, const char *instance, uint32_t instance_len,
                         const char *cell, uint32_t cell_len, const char *provider, uint32_t provider_len,
                         const void *args, uint32_t args_len, uint32_t *ptr_out, uint32_t *len_out);
/* transport.http.inbound */
PULP_REQ(http_listen);
PULP_REQ(http_register);
PULP_REQ(http_respond);
PULP_REQ(http_respond_stream);
/* transport.http.outbound */
PULP_REQ_RESP(http_fetch);
PULP_REQ_RESP(http_fetch_begin);
PULP_IMPORT(http_fetch_read)
int32_t http_fetch_read(uint32_t id_lo, uint32_t id_hi, uint32_t max, uint32_t *ptr_out, uint32_t *len_out);
PULP_IMPORT(http_fetch_close) int32_t http_fetch_close(uint32_t id_lo, uint32_t id_hi);
/* transport.ws.inbound, transport.sse, transport.ws.outbound */
PULP_REQ(ws_register);
PULP_REQ(ws_send);
PULP_REQ(ws_close);
PULP_REQ(sse_register);
PULP_REQ(sse_emit);
PULP_IMPORT(sse_has_subscribers) int32_t sse_has_subscribers(const char *path, uint32_t len, uint32_t *count_out);
PULP_REQ_RESP(wsout_dial);
PULP_IMPORT(wsout_send) int32_t wsout_send(uint32_t id, const void *data, uint32_t len);
PULP_IMPORT(wsout_close) int32_t wsout_close(uint32_t id);
/* network.udp */
PULP_REQ_RESP(udp_listen);
PULP_REQ_RESP(udp_send);
PULP_REQ(udp_close);
/* workers */
PULP_REQ(workers_submit);
PULP_REQ(workers_submit_fire);
PULP_IMPORT(workers_result) int32_t workers_result(uint32_t id, uint32_t *ptr_out, uint32_t *len_out);
PULP_IMPORT(workers_cancel) int32_t workers_cancel(uint32_t id);
PULP_IMPORT(workers_pending) int32_t workers_pending(void);
/* storage.fs */
PULP_REQ_RESP(fs_read);
PULP_IMPORT(fs_write)
int32_t fs_write(const char *path, uint32_t path_len, const void *data, uint32_t data_len, const void *req,
                 uint32_t req_len);
PULP_REQ(fs_delete);
PULP_REQ_RESP(fs_list);
PULP_REQ_RESP(fs_stat);
PULP_REQ(fs_rename);
PULP_REQ(fs_remove_all);
PULP_REQ(fs_mkdir_all);
PULP_REQ(fs_chmod);
PULP_REQ_RESP(fs_create_temp);
PULP_REQ_RESP(fs_mkdir_temp);
/* storage.sqlite */
PULP_IMPORT(sqlite_exec)
int32_t sqlite_exec(const char *sql, uint32_t sql_len, const void *params, uint32_t params_len, uint32_t *ptr_out,
                    uint32_t *len_out);
PULP_IMPORT(sqlite_query)
int32_t sqlite_query(const char *sql, uint32_t sql_len, const void *params, uint32_t params_len, uint32_t *ptr_out,
                     uint32_t *len_out);
/* storage.s3 */
PULP_REQ(s3_put);
PULP_REQ(s3_put_sized);
PULP_REQ_RESP(s3_put_multipart_init);
PULP_REQ_RESP(s3_put_multipart_part);
PULP_REQ(s3_put_multipart_complete);
PULP_REQ(s3_put_multipart_abort);
PULP_REQ_RESP(s3_presign);
PULP_REQ_RESP(s3_presign_put);
PULP_REQ_RESP(s3_head);
PULP_REQ_RESP(s3_get);
PULP_REQ(s3_copy);
PULP_REQ(s3_delete);
PULP_REQ_RESP(s3_list);
/* entropy.read, log, demo.greet, identity.jwt.hs256, identity.minecraft-profile.resolve */
PULP_REQ_RESP(entropy_read);
PULP_IMPORT(log_write) int32_t log_write(uint32_t level, const void *text, uint32_t len);
PULP_REQ(demo_greet);
PULP_REQ_RESP(jwt_sign);
PULP_REQ_RESP(jwt_verify);
PULP_REQ_RESP(minecraft_profile_resolve);
/* spawn.process, spawn.pty */
PULP_REQ(process_run);
PULP_IMPORT(process_result) int32_t process_result(uint32_t id, uint32_t *ptr_out, uint32_t *len_out);
PULP_IMPORT(process_cancel) int32_t process_cancel(uint32_t id);
PULP_IMPORT(process_pending) int32_t process_pending(void);
PULP_REQ_RESP(pty_open);
PULP_IMPORT(pty_write) int32_t pty_write(uint32_t id, const void *data, uint32_t len);
PULP_IMPORT(pty_resize) int32_t pty_resize(uint32_t id, uint32_t cols, uint32_t rows);
PULP_IMPORT(pty_close) int32_t pty_close(uint32_t id);
PULP_IMPORT(pty_alive) int32_t pty_alive(uint32_t id);
/* spawn.docker */
PULP_REQ_RESP(docker_create);
PULP_REQ_RESP(docker_list);
PULP_REQ_RESP(docker_get);
PULP_REQ_RESP(docker_exec);
PULP_REQ_RESP(docker_logs);
PULP_REQ_RESP(docker_stats);
PULP_REQ_RESP(docker_stats_all);
PULP_REQ_RESP(docker_files_read);
PULP_REQ_RESP(docker_events_poll);
PULP_REQ_RESP(docker_build_status);
PULP_REQ(docker_destroy);
PULP_REQ(docker_restart);
PULP_REQ(docker_files_write);
PULP_REQ(docker_files_delete);
PULP_REQ(docker_build);
/* effect.http.probe.v1, tool.acquire, toolchain.install, discovery.mdns */
PULP_REQ_RESP(http_probe_execute);
PULP_REQ_RESP(tool_acquire);
PULP_REQ_RESP(toolchain_install);
PULP_REQ_RESP(toolchain_status);
PULP_REQ_RESP(mdns_browse);
PULP_REQ(mdns_announce);
/* payment.stripe */
PULP_REQ(stripe_webhook_verify);
PULP_REQ_RESP(stripe_checkout_session_create);
PULP_REQ_RESP(stripe_checkout_session_get);
PULP_REQ_RESP(stripe_payment_intent_create);
PULP_REQ_RESP(stripe_payment_intent_get);
PULP_REQ_RESP(stripe_payment_intent_capture);
PULP_REQ_RESP(stripe_payment_intent_cancel);
PULP_REQ_RESP(stripe_refund_create);
PULP_REQ_RESP(stripe_customer_create);
PULP_REQ_RESP(stripe_invoice_create);
PULP_REQ_RESP(stripe_invoice_finalize);
PULP_REQ_RESP(stripe_invoice_mark_paid_out_of_band);
PULP_REQ_RESP(stripe_invoice_item_create);
PULP_REQ_RESP(stripe_balance_get);
PULP_REQ_RESP(stripe_coupon_create);
PULP_REQ_RESP(stripe_promotion_code_create);
PULP_REQ_RESP(stripe_promotion_code_lookup);
PULP_REQ_RESP(stripe_promotion_code_update);

/* --- memory ----------------------------------------------------------------------------------------- */

/* The allocation exports; the counter lets tests see that the host frees what it asked for. */
#define PULP_CELL                                                                                          \
    static int32_t pulp_live;                                                                              \
    PULP_EXPORT(pulp_alloc) void *pulp_alloc(uint32_t size) { pulp_live++; return malloc(size); }           \
    PULP_EXPORT(pulp_free) void pulp_free(void *ptr, uint32_t size) { (void)size; pulp_live--; free(ptr); } \
    PULP_EXPORT(probe_alloc_live) int32_t probe_alloc_live(void) { return pulp_live; }

/* --- writing MessagePack ---------------------------------------------------------------------------- */

typedef struct {
    uint8_t *at, *end, *start;
} mp_out;

static inline mp_out mp_to(void *buffer, size_t size) {
    return (mp_out){(uint8_t *)buffer, (uint8_t *)buffer + size, (uint8_t *)buffer};
}
static inline uint32_t mp_size(const mp_out *o) { return (uint32_t)(o->at - o->start); }
static inline void mp_byte(mp_out *o, uint8_t b) {
    if (o->at < o->end) *o->at++ = b;
}
static inline void mp_big(mp_out *o, uint64_t value, int bytes) {
    while (bytes-- > 0) mp_byte(o, (uint8_t)(value >> (8 * bytes)));
}
static inline void mp_raw(mp_out *o, const void *data, size_t n) {
    if ((size_t)(o->end - o->at) < n) n = (size_t)(o->end - o->at);
    memcpy(o->at, data, n);
    o->at += n;
}
static inline void mp_map(mp_out *o, uint32_t n) { mp_byte(o, 0xde), mp_big(o, n, 2); }
static inline void mp_array(mp_out *o, uint32_t n) { mp_byte(o, 0xdc), mp_big(o, n, 2); }
static inline void mp_strn(mp_out *o, const char *s, size_t n) { mp_byte(o, 0xdb), mp_big(o, n, 4), mp_raw(o, s, n); }
static inline void mp_str(mp_out *o, const char *s) { mp_strn(o, s, strlen(s)); }
static inline void mp_bin(mp_out *o, const void *d, size_t n) { mp_byte(o, 0xc6), mp_big(o, n, 4), mp_raw(o, d, n); }
static inline void mp_uint(mp_out *o, uint64_t v) { mp_byte(o, 0xcf), mp_big(o, v, 8); }
static inline void mp_int(mp_out *o, int64_t v) { mp_byte(o, 0xd3), mp_big(o, (uint64_t)v, 8); }

/* --- reading MessagePack ---------------------------------------------------------------------------- */

typedef struct {
    const uint8_t *at, *end;
} mp_in;

enum mp_kind { MP_BAD, MP_NIL, MP_BOOL, MP_INT, MP_FLOAT, MP_STR, MP_BIN, MP_ARRAY, MP_MAP, MP_EXT };

typedef struct {
    enum mp_kind kind;
    int64_t number;      /* value of a bool or integer; count of an array's items or a map's pairs */
    const char *data;    /* content of str, bin, ext */
    uint32_t size;
} mp_item;

static inline uint64_t mp_take(mp_in *in, int bytes) {
    uint64_t value = 0;
    if (in->end - in->at < bytes) return in->at = in->end, 0;
    while (bytes-- > 0) value = value << 8 | *in->at++;
    return value;
}
static inline mp_item mp_block(mp_in *in, enum mp_kind kind, uint32_t size) {
    mp_item item = {kind, 0, (const char *)in->at, size};
    if ((size_t)(in->end - in->at) < size) return in->at = in->end, (mp_item){MP_BAD, 0, 0, 0};
    in->at += size;
    return item;
}
static inline mp_item mp_number(enum mp_kind kind, int64_t number) { return (mp_item){kind, number, 0, 0}; }

/* Reads one item; arrays and maps only their heads. */
static inline mp_item mp_next(mp_in *in) {
    if (in->at >= in->end) return mp_number(MP_BAD, 0);
    uint8_t tag = *in->at++;
    if (tag < 0x80) return mp_number(MP_INT, tag);
    if (tag >= 0xe0) return mp_number(MP_INT, (int8_t)tag);
    if (tag < 0x90) return mp_number(MP_MAP, tag & 15);
    if (tag < 0xa0) return mp_number(MP_ARRAY, tag & 15);
    if (tag < 0xc0) return mp_block(in, MP_STR, tag & 31);
    switch (tag) {
        case 0xc0: return mp_number(MP_NIL, 0);
        case 0xc2: case 0xc3: return mp_number(MP_BOOL, tag & 1);
        case 0xc4: case 0xc5: case 0xc6: return mp_block(in, MP_BIN, (uint32_t)mp_take(in, 1 << (tag - 0xc4)));
        case 0xc7: case 0xc8: case 0xc9: return mp_block(in, MP_EXT, 1 + (uint32_t)mp_take(in, 1 << (tag - 0xc7)));
        case 0xca: return mp_take(in, 4), mp_number(MP_FLOAT, 0);
        case 0xcb: return mp_take(in, 8), mp_number(MP_FLOAT, 0);
        case 0xcc: case 0xcd: case 0xce: case 0xcf: return mp_number(MP_INT, (int64_t)mp_take(in, 1 << (tag - 0xcc)));
        case 0xd0: return mp_number(MP_INT, (int8_t)mp_take(in, 1));
        case 0xd1: return mp_number(MP_INT, (int16_t)mp_take(in, 2));
        case 0xd2: return mp_number(MP_INT, (int32_t)mp_take(in, 4));
        case 0xd3: return mp_number(MP_INT, (int64_t)mp_take(in, 8));
        case 0xd4: case 0xd5: case 0xd6: case 0xd7: case 0xd8: return mp_block(in, MP_EXT, 1 + (1u << (tag - 0xd4)));
        case 0xd9: case 0xda: case 0xdb: return mp_block(in, MP_STR, (uint32_t)mp_take(in, 1 << (tag - 0xd9)));
        case 0xdc: case 0xdd: return mp_number(MP_ARRAY, (int64_t)mp_take(in, 2 << (tag - 0xdc)));
        case 0xde: case 0xdf: return mp_number(MP_MAP, (int64_t)mp_take(in, 2 << (tag - 0xde)));
        default: return mp_number(MP_BAD, 0);
    }
}
static inline void mp_skip(mp_in *in) {
    mp_item item = mp_next(in);
    int64_t inner = item.kind == MP_ARRAY ? item.number : item.kind == MP_MAP ? 2 * item.number : 0;
    while (inner-- > 0 && in->at < in->end) mp_skip(in);
}

/* Moves `in`, which stands before a map, to the value of a key; 0 when there is none. */
static inline int mp_find(mp_in in, const char *key, mp_in *value) {
    mp_item map = mp_next(&in);
    for (int64_t i = 0; map.kind == MP_MAP && i < map.number; i++) {
        mp_item name = mp_next(&in);
        if ((name.kind == MP_STR || name.kind == MP_BIN) && name.size == strlen(key) && !memcmp(name.data, key, name.size))
            return *value = in, 1;
        mp_skip(&in);
    }
    return 0;
}
/* The item under a key of the map that `in` stands before. */
static inline mp_item mp_get(mp_in in, const char *key) {
    mp_in value;
    return mp_find(in, key, &value) ? mp_next(&value) : mp_number(MP_NIL, 0);
}

/* --- events ----------------------------------------------------------------------------------------- */

typedef struct {
    uint64_t call_number, wall_time;
    uint32_t payload_len;
    mp_in payload;       /* empty for an idle tick */
} pulp_envelope;

static inline pulp_envelope pulp_open(const uint8_t *data, uint32_t len) {
    pulp_envelope e;
    memcpy(&e.call_number, data, 8);
    memcpy(&e.wall_time, data + 8, 8);
    memcpy(&e.payload_len, data + 16, 4);
    e.payload = (mp_in){data + 20, data + len};
    return e;
}
static inline int mp_is(mp_item item, const char *text) {
    return item.size == strlen(text) && !memcmp(item.data, text, item.size);
}

static inline int32_t pulp_route(const char *method, const char *path) {
    uint8_t buffer[512];
    mp_out o = mp_to(buffer, sizeof buffer);
    mp_map(&o, 2), mp_str(&o, "method"), mp_str(&o, method), mp_str(&o, "path"), mp_str(&o, path);
    return http_register(buffer, mp_size(&o));
}

/* Answers a request with a body of one content type. */
static inline int32_t pulp_respond(uint64_t id, uint32_t status, const char *type, const void *body, uint32_t len) {
    uint8_t *buffer = malloc(256 + len);
    mp_out o = mp_to(buffer, 256 + len);
    mp_map(&o, 4), mp_str(&o, "id"), mp_uint(&o, id), mp_str(&o, "status"), mp_uint(&o, status);
    mp_str(&o, "headers"), mp_map(&o, 1), mp_str(&o, "Content-Type"), mp_str(&o, type);
    mp_str(&o, "body"), mp_bin(&o, body, len);
    int32_t code = http_respond(buffer, mp_size(&o));
    free(buffer);
    return code;
}

#endif
