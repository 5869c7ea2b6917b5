/* Answers with the body of a fetch that is still running. */
#include <pulp.h>

PULP_CELL

static char url[256];

PULP_EXPORT(pulp_init) int32_t pulp_init(const uint8_t *config, uint32_t len) {
    mp_in in = {config, config + len};
    mp_item given = mp_get(in, "url");
    memcpy(url, given.data, given.size);
    return pulp_route("GET", "/proxy") + pulp_route("GET", "/unknown");
}

PULP_EXPORT(pulp_step) int32_t pulp_step(const uint8_t *data, uint32_t len) {
    pulp_envelope envelope = pulp_open(data, len);
    uint8_t buffer[512];
    uint32_t head = 0, head_len = 0;
    mp_in request;
    if (!envelope.payload_len || !mp_find(envelope.payload, "payload", &request)) return 0;
    uint64_t id = (uint64_t)mp_get(request, "id").number, stream = 999;
    if (mp_is(mp_get(request, "path"), "/proxy")) {
        mp_out o = mp_to(buffer, sizeof buffer);
        mp_map(&o, 1), mp_str(&o, "url"), mp_str(&o, url);
        if (http_fetch_begin(buffer, mp_size(&o), &head, &head_len)) return 1;
        stream = (uint64_t)mp_get((mp_in){(uint8_t *)head, (uint8_t *)head + head_len}, "id").number;
    }
    mp_out o = mp_to(buffer, sizeof buffer);
    mp_map(&o, 4), mp_str(&o, "id"), mp_uint(&o, id), mp_str(&o, "stream_id"), mp_uint(&o, stream);
    mp_str(&o, "status"), mp_uint(&o, 203), mp_str(&o, "headers"), mp_map(&o, 1), mp_str(&o, "X-From"), mp_str(&o, "proxy");
    int32_t code = http_respond_stream(buffer, mp_size(&o));
    char digit = (char)('0' + code);
    return code ? pulp_respond(id, 200, "text/plain", &digit, 1) : 0;
}
PULP_EXPORT(pulp_shutdown) int32_t pulp_shutdown(void) { return 0; }
