/* build: reactor */
#include "pulp.h"
#define CROSS_NAME "pulp"
#include "cross.h"

PULP_CELL

static void cross_call(const char *guest, const char *entry, const char *input, uint32_t size, cross_text *out) {
    uint32_t got = 0, length = 0;
    int32_t code = pulp_call(guest, (uint32_t)strlen(guest), entry, (uint32_t)strlen(entry), input, size, &got, &length);
    cross_put_code(out, code);
    cross_put(out, (const void *)got, length);
    if (got) pulp_free((void *)got, length);
}

PULP_EXPORT(pulp_init) int32_t pulp_init(const uint8_t *config, uint32_t len) { return (void)config, (void)len, 0; }
PULP_EXPORT(pulp_step) int32_t pulp_step(const uint8_t *data, uint32_t len) { return (void)data, (void)len, 0; }
PULP_EXPORT(pulp_shutdown) int32_t pulp_shutdown(void) { return 0; }

PULP_EXPORT(pulp_on_call)
int32_t pulp_on_call(const char *name, uint32_t name_len, const uint8_t *args, uint32_t args_len, uint32_t *ptr_out,
                     uint32_t *len_out) {
    cross_text out;
    if (!cross_is(name, name_len, "answer")) return 10;
    int code = cross_serve((const char *)args, args_len, &out);
    uint8_t *reply = pulp_alloc(out.size);
    memcpy(reply, out.data, out.size);
    *ptr_out = (uint32_t)reply, *len_out = out.size;
    return code;
}
