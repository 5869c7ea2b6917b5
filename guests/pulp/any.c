/* Calls whatever import a test names, with whatever arguments: a window onto the host functions.
 *
 * pulp_on_call(name, args): `args` is a MessagePack array; text and bytes become (pointer, length), numbers
 * one i32 each. The response is the code as four bytes, then what the import delivered.
 */
#include <pulp.h>

PULP_CELL

/* How an import delivers: nothing, a block at the last two parameters, or a number at the last one. */
enum delivers { NOTHING, BLOCK, NUMBER };

static const struct entry {
    const char *name;
    void *function;
    enum delivers delivers;
} table[] = {
#define PLAIN(name) {#name, (void *)name, NOTHING}
#define GIVES(name) {#name, (void *)name, BLOCK}
    GIVES(pulp_call), GIVES(pulp_app_call_v1), PLAIN(http_listen), PLAIN(http_register), PLAIN(http_respond),
    PLAIN(http_respond_stream), GIVES(http_fetch), GIVES(http_fetch_begin), GIVES(http_fetch_read),
    PLAIN(http_fetch_close), PLAIN(ws_register), PLAIN(ws_send), PLAIN(ws_close), PLAIN(sse_register),
    PLAIN(sse_emit), {"sse_has_subscribers", (void *)sse_has_subscribers, NUMBER}, GIVES(wsout_dial),
    PLAIN(wsout_send), PLAIN(wsout_close), GIVES(udp_listen), GIVES(udp_send), PLAIN(udp_close),
    PLAIN(workers_submit), PLAIN(workers_submit_fire), GIVES(workers_result), PLAIN(workers_cancel),
    PLAIN(workers_pending), GIVES(fs_read), PLAIN(fs_write), PLAIN(fs_delete), GIVES(fs_list), GIVES(fs_stat),
    PLAIN(fs_rename), PLAIN(fs_remove_all), PLAIN(fs_mkdir_all), PLAIN(fs_chmod), GIVES(fs_create_temp),
    GIVES(fs_mkdir_temp), GIVES(sqlite_exec), GIVES(sqlite_query), PLAIN(s3_put), PLAIN(s3_put_sized),
    GIVES(s3_put_multipart_init), GIVES(s3_put_multipart_part), PLAIN(s3_put_multipart_complete),
    PLAIN(s3_put_multipart_abort), GIVES(s3_presign), GIVES(s3_presign_put), GIVES(s3_head), GIVES(s3_get),
    PLAIN(s3_copy), PLAIN(s3_delete), GIVES(s3_list), GIVES(entropy_read), PLAIN(log_write),
    PLAIN(demo_greet), GIVES(jwt_sign), GIVES(jwt_verify), GIVES(minecraft_profile_resolve),
    PLAIN(process_run), GIVES(process_result), PLAIN(process_cancel), PLAIN(process_pending), GIVES(pty_open),
    PLAIN(pty_write), PLAIN(pty_resize), PLAIN(pty_close), PLAIN(pty_alive), GIVES(docker_create),
    GIVES(docker_list), GIVES(docker_get), GIVES(docker_exec), GIVES(docker_logs), GIVES(docker_stats),
    GIVES(docker_stats_all), GIVES(docker_files_read), GIVES(docker_events_poll), GIVES(docker_build_status),
    PLAIN(docker_destroy), PLAIN(docker_restart), PLAIN(docker_files_write), PLAIN(docker_files_delete),
    PLAIN(docker_build), GIVES(http_probe_execute), GIVES(tool_acquire), GIVES(toolchain_install),
    GIVES(toolchain_status), GIVES(mdns_browse), PLAIN(mdns_announce), PLAIN(stripe_webhook_verify),
    GIVES(stripe_checkout_session_create), GIVES(stripe_checkout_session_get),
    GIVES(stripe_payment_intent_create), GIVES(stripe_payment_intent_get),
    GIVES(stripe_payment_intent_capture), GIVES(stripe_payment_intent_cancel), GIVES(stripe_refund_create),
    GIVES(stripe_customer_create), GIVES(stripe_invoice_create), GIVES(stripe_invoice_finalize),
    GIVES(stripe_invoice_mark_paid_out_of_band), GIVES(stripe_invoice_item_create), GIVES(stripe_balance_get),
    GIVES(stripe_coupon_create), GIVES(stripe_promotion_code_create), GIVES(stripe_promotion_code_lookup),
    GIVES(stripe_promotion_code_update),
};

/* Events are kept, newest last and each behind its length, for a test to read with "events". */
static uint8_t events[1 << 20];
static uint32_t events_len, event_count;

PULP_EXPORT(pulp_init) int32_t pulp_init(const uint8_t *config, uint32_t len) { return (void)config, (void)len, 0; }
PULP_EXPORT(pulp_step) int32_t pulp_step(const uint8_t *data, uint32_t len) {
    pulp_envelope envelope = pulp_open(data, len);
    if (!envelope.payload_len || events_len + 4 + envelope.payload_len > sizeof events) return 0;
    memcpy(events + events_len, &envelope.payload_len, 4);
    memcpy(events + events_len + 4, envelope.payload.at, envelope.payload_len);
    events_len += 4 + envelope.payload_len, event_count++;
    return 0;
}
PULP_EXPORT(pulp_shutdown) int32_t pulp_shutdown(void) { return 0; }

typedef uint32_t w;
static int32_t enter(void *f, int n, const w *a) {
    switch (n) {
        case 0: return ((int32_t(*)(void))f)();
        case 1: return ((int32_t(*)(w))f)(a[0]);
        case 2: return ((int32_t(*)(w, w))f)(a[0], a[1]);
        case 3: return ((int32_t(*)(w, w, w))f)(a[0], a[1], a[2]);
        case 4: return ((int32_t(*)(w, w, w, w))f)(a[0], a[1], a[2], a[3]);
        case 5: return ((int32_t(*)(w, w, w, w, w))f)(a[0], a[1], a[2], a[3], a[4]);
        case 6: return ((int32_t(*)(w, w, w, w, w, w))f)(a[0], a[1], a[2], a[3], a[4], a[5]);
        case 8: return ((int32_t(*)(w, w, w, w, w, w, w, w))f)(a[0], a[1], a[2], a[3], a[4], a[5], a[6], a[7]);
        case 12:
            return ((int32_t(*)(w, w, w, w, w, w, w, w, w, w, w, w))f)(a[0], a[1], a[2], a[3], a[4], a[5], a[6],
                                                                      a[7], a[8], a[9], a[10], a[11]);
        default: __builtin_trap();
    }
}

static void respond(int32_t code, const void *data, uint32_t len, uint32_t *out, uint32_t *out_len) {
    uint8_t *reply = pulp_alloc(4 + len);
    memcpy(reply, &code, 4), memcpy(reply + 4, data, len);
    *out = (uint32_t)reply, *out_len = 4 + len;
}

PULP_EXPORT(pulp_on_call)
int32_t pulp_on_call(const char *name, uint32_t name_len, const uint8_t *args, uint32_t args_len, uint32_t *out,
                     uint32_t *out_len) {
    mp_item called = {MP_STR, 0, name, name_len};
    if (mp_is(called, "events")) {
        respond((int32_t)event_count, events, events_len, out, out_len);
        events_len = 0, event_count = 0;
        return 0;
    }
    for (size_t i = 0; i < sizeof table / sizeof *table; i++) {
        if (!mp_is(called, table[i].name)) continue;
        uint32_t words[14], got[2] = {0, 0}, n = 0;
        mp_in in = {args, args + args_len};
        int64_t items = mp_next(&in).number;
        while (items-- > 0 && n < 11) {
            mp_item item = mp_next(&in);
            if (item.kind == MP_INT) words[n++] = (uint32_t)item.number;
            else words[n++] = (uint32_t)item.data, words[n++] = item.size;
        }
        if (table[i].delivers == BLOCK) words[n++] = (uint32_t)&got[0], words[n++] = (uint32_t)&got[1];
        if (table[i].delivers == NUMBER) words[n++] = (uint32_t)&got[0];
        int32_t code = enter(table[i].function, (int)n, words);
        if (table[i].delivers == BLOCK) {
            respond(code, (void *)got[0], got[1], out, out_len);
            if (got[0]) pulp_free((void *)got[0], got[1]);
        } else {
            respond(code, &got[0], table[i].delivers == NUMBER ? 4 : 0, out, out_len);
        }
        return 0;
    }
    return 10;
}
