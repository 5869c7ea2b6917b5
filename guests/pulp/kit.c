/* A provider with one function per thing that a test may want to see a cell do. */
#include <pulp.h>

PULP_CELL

static uint32_t config_len, steps, count;
static uint8_t *config_copy;
static int32_t last_code;

PULP_EXPORT(pulp_init) int32_t pulp_init(const uint8_t *config, uint32_t len) {
    config_len = len;
    config_copy = malloc(len + 1);
    memcpy(config_copy, config, len);
    mp_in in = {config, config + len};
    if (len && mp_get(in, "trap").number) __builtin_trap();
    return len ? (int32_t)mp_get(in, "init_code").number : 0;
}

static volatile uint32_t sink;
static void spin(void) {
    for (;;) sink++;
}

PULP_EXPORT(pulp_step) int32_t pulp_step(const uint8_t *data, uint32_t len) {
    pulp_envelope envelope = pulp_open(data, len);
    steps++;
    if (!envelope.payload_len) return 0;
    mp_item kind = mp_get(envelope.payload, "kind");
    if (mp_is(kind, "spin")) spin();
    if (mp_is(kind, "trap")) __builtin_trap();
    return (int32_t)mp_get(envelope.payload, "payload").number;
}
PULP_EXPORT(pulp_shutdown) int32_t pulp_shutdown(void) {
    mp_in in = {config_copy, config_copy + config_len};
    return config_len ? (int32_t)mp_get(in, "shutdown_code").number : 0;
}
PULP_EXPORT(probe_config_marker) int64_t probe_config_marker(void) { return -1; }
PULP_EXPORT(pulp_on_call_error_ptr) const char *pulp_on_call_error_ptr(void) { return "kit says no"; }
PULP_EXPORT(pulp_on_call_error_len) uint32_t pulp_on_call_error_len(void) { return 11; }

static const uint8_t *part(const uint8_t **at, const uint8_t *end, uint32_t *len) {
    const uint8_t *start = *at, *stop = memchr(start, '|', (size_t)(end - start));
    if (!stop) stop = end;
    *len = (uint32_t)(stop - start);
    *at = stop < end ? stop + 1 : end;
    return start;
}

/* "target|function|argument" -> one byte of code, then the response */
static void relay(const uint8_t *args, uint32_t len, uint32_t *out, uint32_t *out_len) {
    const uint8_t *at = args, *end = args + len;
    uint32_t target_len, name_len, got = 0, got_len = 0;
    const uint8_t *target = part(&at, end, &target_len), *name = part(&at, end, &name_len);
    int32_t code = pulp_call((const char *)target, target_len, (const char *)name, name_len, at,
                             (uint32_t)(end - at), &got, &got_len);
    uint8_t *reply = pulp_alloc(1 + got_len);
    reply[0] = (uint8_t)code;
    memcpy(reply + 1, (void *)got, got_len);
    if (got) pulp_free((void *)got, got_len);
    *out = (uint32_t)reply, *out_len = 1 + got_len;
}

PULP_EXPORT(pulp_on_call)
int32_t pulp_on_call(const char *name, uint32_t name_len, const uint8_t *args, uint32_t args_len, uint32_t *out,
                     uint32_t *out_len) {
    mp_item called = {MP_STR, 0, name, name_len};
    if (!name_len) return 1;
    if (mp_is(called, "reverse")) {
        uint8_t *reply = pulp_alloc(args_len);
        for (uint32_t i = 0; i < args_len; i++) reply[i] = args[args_len - 1 - i];
        *out = (uint32_t)reply, *out_len = args_len;
    } else if (mp_is(called, "relay")) {
        relay(args, args_len, out, out_len);
    } else if (mp_is(called, "count")) {
        uint32_t *reply = pulp_alloc(4);
        *reply = ++count;
        *out = (uint32_t)reply, *out_len = 4;
    } else if (mp_is(called, "config")) {
        uint8_t *reply = pulp_alloc(config_len);
        memcpy(reply, config_copy, config_len);
        *out = (uint32_t)reply, *out_len = config_len;
    } else if (mp_is(called, "fail")) {
        return args_len ? args[0] : 11;
    } else if (mp_is(called, "trap")) {
        __builtin_trap();
    } else if (mp_is(called, "spin")) {
        spin();
    } else if (mp_is(called, "wild")) { /* a response that is not inside the memory */
        *out = 0xfffffff0u, *out_len = 64;
    } else if (mp_is(called, "huge")) {
        *out = 1024, *out_len = (8u << 20) + 1;
    } else if (mp_is(called, "entropy")) {
        uint32_t got = 0, got_len = 0;
        last_code = entropy_read(args, args_len, &got, &got_len);
        uint8_t *reply = pulp_alloc(1 + got_len);
        reply[0] = (uint8_t)last_code;
        memcpy(reply + 1, (void *)got, got_len);
        if (got) pulp_free((void *)got, got_len);
        *out = (uint32_t)reply, *out_len = 1 + got_len;
    } else if (mp_is(called, "bad_out")) { /* where the host should write the response is nowhere */
        last_code = entropy_read(args, args_len, (uint32_t *)0xfffffffeu, (uint32_t *)0xfffffffeu);
        uint8_t *reply = pulp_alloc(1);
        reply[0] = (uint8_t)last_code;
        *out = (uint32_t)reply, *out_len = 1;
    } else if (!mp_is(called, "nothing")) {
        return 10;
    }
    return 0;
}
