/* Calls into another application: "app|instance|cell|provider|argument" -> one byte of code, then the response. */
#include <pulp.h>

PULP_CELL

PULP_EXPORT(pulp_init) int32_t pulp_init(const uint8_t *config, uint32_t len) { return (void)config, (void)len, 0; }
PULP_EXPORT(pulp_step) int32_t pulp_step(const uint8_t *data, uint32_t len) { return (void)data, (void)len, 0; }
PULP_EXPORT(pulp_shutdown) int32_t pulp_shutdown(void) { return 0; }

PULP_EXPORT(pulp_on_call)
int32_t pulp_on_call(const char *name, uint32_t name_len, const uint8_t *args, uint32_t args_len, uint32_t *out,
                     uint32_t *out_len) {
    (void)name, (void)name_len;
    const char *parts[5], *at = (const char *)args, *end = at + args_len;
    uint32_t lengths[5], got = 0, got_len = 0;
    for (int i = 0; i < 5; i++) {
        const char *stop = i < 4 ? memchr(at, '|', (size_t)(end - at)) : 0;
        if (!stop) stop = end;
        parts[i] = at, lengths[i] = (uint32_t)(stop - at);
        at = stop < end ? stop + 1 : end;
    }
    int32_t code = pulp_app_call_v1(parts[0], lengths[0], parts[1], lengths[1], parts[2], lengths[2], parts[3],
                                    lengths[3], parts[4], lengths[4], &got, &got_len);
    uint8_t *reply = pulp_alloc(1 + got_len);
    reply[0] = (uint8_t)code;
    memcpy(reply + 1, (void *)got, got_len);
    if (got) pulp_free((void *)got, got_len);
    *out = (uint32_t)reply, *out_len = 1 + got_len;
    return 0;
}
