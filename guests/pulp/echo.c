/* Echo over HTTP: GET returns the captured word, POST the body. */
#include <pulp.h>

PULP_CELL

PULP_EXPORT(pulp_init) int32_t pulp_init(const uint8_t *config, uint32_t len) {
    (void)config, (void)len;
    if (pulp_route("GET", "/echo/:word")) return 1;
    return pulp_route("post", "/echo") ? 2 : 0;
}

PULP_EXPORT(pulp_step) int32_t pulp_step(const uint8_t *data, uint32_t len) {
    pulp_envelope envelope = pulp_open(data, len);
    mp_in request;
    if (!envelope.payload_len) return 0;
    if (!mp_is(mp_get(envelope.payload, "kind"), "http.request")) return 2;
    if (!mp_find(envelope.payload, "payload", &request)) return 3;
    uint64_t id = (uint64_t)mp_get(request, "id").number;
    mp_item body = mp_get(request, "body");
    mp_in params;
    if (mp_is(mp_get(request, "method"), "GET") && mp_find(request, "params", &params)) body = mp_get(params, "word");
    return pulp_respond(id, 200, "text/plain", body.data, body.size);
}

PULP_EXPORT(pulp_shutdown) int32_t pulp_shutdown(void) { return 0; }
