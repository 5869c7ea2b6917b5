/* Answers WebSocket messages with themselves, and hands what is posted to /live to the subscribers of its stream. */
#include <pulp.h>

PULP_CELL

static uint8_t buffer[1 << 16];

static int32_t claim(int32_t (*claims)(const void *, uint32_t), const char *path) {
    return claims(path, (uint32_t)strlen(path));
}

PULP_EXPORT(pulp_init) int32_t pulp_init(const uint8_t *config, uint32_t len) {
    (void)config, (void)len;
    if (pulp_route("POST", "/live")) return 1;
    if (claim(ws_register, "/live/talk")) return 2;
    return claim(sse_register, "/live/events") ? 3 : 0;
}

static int32_t answer(mp_in frame) {
    mp_item payload = mp_get(frame, "payload");
    mp_out o = mp_to(buffer, sizeof buffer);
    mp_map(&o, 3), mp_str(&o, "conn_id"), mp_uint(&o, (uint64_t)mp_get(frame, "conn_id").number);
    mp_str(&o, "opcode"), mp_uint(&o, (uint64_t)mp_get(frame, "opcode").number);
    mp_str(&o, "payload"), mp_bin(&o, payload.data, payload.size);
    return ws_send(buffer, mp_size(&o));
}

static int32_t publish(mp_in request) {
    mp_item body = mp_get(request, "body");
    mp_out o = mp_to(buffer, sizeof buffer);
    mp_map(&o, 2), mp_str(&o, "path"), mp_str(&o, "/live/events"), mp_str(&o, "data"), mp_strn(&o, body.data, body.size);
    if (sse_emit(buffer, mp_size(&o))) return 4;
    return pulp_respond((uint64_t)mp_get(request, "id").number, 204, "text/plain", "", 0);
}

PULP_EXPORT(pulp_step) int32_t pulp_step(const uint8_t *data, uint32_t len) {
    pulp_envelope envelope = pulp_open(data, len);
    mp_in payload;
    if (!envelope.payload_len || !mp_find(envelope.payload, "payload", &payload)) return 0;
    mp_item kind = mp_get(envelope.payload, "kind");
    if (mp_is(kind, "ws.frame")) return answer(payload);
    return mp_is(kind, "http.request") ? publish(payload) : 0;
}
PULP_EXPORT(pulp_shutdown) int32_t pulp_shutdown(void) { return 0; }
