/* One HTTP route per way of answering; the configuration's "listen" picks an address of its own. */
#include <pulp.h>

PULP_CELL

static const char *routes[][2] = {
    {"GET", "/show/:a/:b"}, {"POST", "/show/:a/:b"}, {"GET", "/silent"}, {"GET", "/trap"},  {"GET", "/slow"},
    {"GET", "/status/:n"},  {"GET", "/raw"},         {"GET", "/twice"},  {"GET", "/wrong"}, {"HEAD", "/raw"},
    {"GET", "/files/*rest"},
};

PULP_EXPORT(pulp_init) int32_t pulp_init(const uint8_t *config, uint32_t len) {
    mp_in in = {config, config + len};
    mp_item address = mp_get(in, "listen"), own = mp_get(in, "route");
    if (address.kind == MP_STR) {
        uint8_t buffer[128];
        mp_out o = mp_to(buffer, sizeof buffer);
        mp_map(&o, 1), mp_str(&o, "addr"), mp_strn(&o, address.data, address.size);
        int32_t code = http_listen(buffer, mp_size(&o));
        if (code) return 100 + code;
    }
    if (own.kind == MP_STR) {
        char path[128] = {0};
        memcpy(path, own.data, own.size);
        return pulp_route("GET", path);
    }
    for (size_t i = 0; i < sizeof routes / sizeof *routes; i++) {
        int32_t code = pulp_route(routes[i][0], routes[i][1]);
        if (code) return code;
    }
    return pulp_route("GET", "/silent"); /* one's own again: nothing happens */
}

static volatile uint32_t sink;

PULP_EXPORT(pulp_step) int32_t pulp_step(const uint8_t *data, uint32_t len) {
    pulp_envelope envelope = pulp_open(data, len);
    mp_in request, value;
    if (!envelope.payload_len || !mp_find(envelope.payload, "payload", &request)) return 0;
    uint64_t id = (uint64_t)mp_get(request, "id").number;
    mp_item path = mp_get(request, "path");
    if (mp_is(path, "/silent")) return 0;
    if (mp_is(path, "/trap")) __builtin_trap();
    if (mp_is(path, "/slow")) for (sink = 0; sink < 400000000u; sink++);
    if (mp_is(path, "/twice")) return pulp_respond(id, 200, "text/plain", "1", 1), pulp_respond(id, 200, "a", "2", 1);
    if (mp_is(path, "/wrong")) return pulp_respond(id + 1, 200, "text/plain", "1", 1);
    if (mp_is(path, "/raw")) {
        uint8_t buffer[512];
        mp_out o = mp_to(buffer, sizeof buffer);
        mp_map(&o, 5), mp_str(&o, "id"), mp_uint(&o, id), mp_str(&o, "status"), mp_uint(&o, 0);
        mp_str(&o, "headers"), mp_map(&o, 5), mp_str(&o, "x-split"), mp_str(&o, "a\r\nInjected: yes");
        mp_str(&o, "bad name"), mp_str(&o, "x"), mp_str(&o, "Content-Length"), mp_str(&o, "9999");
        mp_str(&o, "Transfer-Encoding"), mp_str(&o, "chunked"), mp_str(&o, "X-Fine"), mp_str(&o, "yes");
        mp_str(&o, "cookies"), mp_array(&o, 2), mp_str(&o, "a=1"), mp_str(&o, "b=2; HttpOnly");
        mp_str(&o, "body"), mp_str(&o, "text, not bin");
        return http_respond(buffer, mp_size(&o));
    }
    uint32_t status = 200;
    if (mp_find(request, "params", &value)) {
        mp_item number = mp_get(value, "n");
        for (uint32_t i = 0; number.kind == MP_STR && i < number.size; i++)
            status = (i ? status * 10 : 0) + (uint32_t)(number.data[i] - '0');
    }
    /* everything else: the request itself, as it came */
    return pulp_respond(id, status, "application/msgpack", request.at, (uint32_t)(request.end - request.at));
}
PULP_EXPORT(pulp_shutdown) int32_t pulp_shutdown(void) { return 0; }
