/* Calls into another application: "app|instance|cell|function|argument" -> code, then the response. */
#include <pulp.h>

PULP_CELL

static uint8_t *config_copy;
static uint32_t config_len, calls;

PULP_EXPORT(pulp_init) int32_t pulp_init(const uint8_t *config, uint32_t len) {
    config_copy = malloc(len + 1), config_len = len;
    memcpy(config_copy, config, len);
    mp_in in = {config, config + len};
    mp_item route = mp_get(in, "route");
    if (!len || route.kind != MP_STR) return 0;
    char path[128] = {0};
    memcpy(path, route.data, route.size);
    return pulp_route("GET", path);
}

/* Answers a request with what it saw of it: the path and the three headers of the gateway. */
PULP_EXPORT(pulp_step) int32_t pulp_step(const uint8_t *data, uint32_t len) {
    pulp_envelope envelope = pulp_open(data, len);
    mp_in request, headers;
    if (!envelope.payload_len || !mp_find(envelope.payload, "payload", &request)) return 0;
    uint64_t id = (uint64_t)mp_get(request, "id").number;
    char seen[512];
    uint32_t at = 0;
    mp_item parts[4] = {mp_get(request, "path")};
    if (mp_find(request, "headers", &headers)) {
        parts[1] = mp_get(headers, "X-Pulp-Application");
        parts[2] = mp_get(headers, "X-Pulp-Application-Instance");
        parts[3] = mp_get(headers, "X-Forwarded-Prefix");
    }
    for (int i = 0; i < 4; i++) {
        if (i) seen[at++] = ' ';
        if (parts[i].kind == MP_STR && at + parts[i].size < sizeof seen)
            memcpy(seen + at, parts[i].data, parts[i].size), at += parts[i].size;
    }
    return pulp_respond(id, 200, "text/plain", seen, at);
}
PULP_EXPORT(pulp_shutdown) int32_t pulp_shutdown(void) { return 0; }

static const uint8_t *part(const uint8_t **at, const uint8_t *end, uint32_t *len) {
    const uint8_t *start = *at, *stop = memchr(start, '|', (size_t)(end - start));
    if (!stop) stop = end;
    *len = (uint32_t)(stop - start);
    *at = stop < end ? stop + 1 : end;
    return start;
}

static void give(const void *data, uint32_t len, uint32_t *out, uint32_t *out_len) {
    uint8_t *reply = pulp_alloc(len);
    memcpy(reply, data, len);
    *out = (uint32_t)reply, *out_len = len;
}

static volatile uint32_t sink;

PULP_EXPORT(pulp_on_call)
int32_t pulp_on_call(const char *name, uint32_t name_len, const uint8_t *args, uint32_t args_len, uint32_t *out,
                     uint32_t *out_len) {
    mp_item called = {MP_STR, 0, name, name_len};
    if (mp_is(called, "cross")) {
        const uint8_t *at = args, *end = args + args_len;
        uint32_t size[4], got = 0, got_len = 0;
        const void *piece[4];
        for (int i = 0; i < 4; i++) piece[i] = part(&at, end, &size[i]);
        int32_t code = pulp_app_call_v1(piece[0], size[0], piece[1], size[1], piece[2], size[2], piece[3], size[3], at,
                                        (uint32_t)(end - at), &got, &got_len);
        uint8_t *reply = pulp_alloc(1 + got_len);
        reply[0] = (uint8_t)code;
        memcpy(reply + 1, (void *)got, got_len);
        if (got) pulp_free((void *)got, got_len);
        *out = (uint32_t)reply, *out_len = 1 + got_len;
    } else if (mp_is(called, "stock.count")) {
        calls++;
        give(&calls, 4, out, out_len);
    } else if (mp_is(called, "stock.slow")) { /* busy for a while, then done */
        for (sink = 0; sink < 300000000u; sink++);
        give("done", 4, out, out_len);
    } else if (mp_is(called, "config")) {
        give(config_copy, config_len, out, out_len);
    } else {
        return 10;
    }
    return 0;
}
