/* Greets whoever its configuration names, from pulp_init; fails with the code of the import. */
#include <pulp.h>

PULP_CELL

static char detail[64];

PULP_EXPORT(pulp_init) int32_t pulp_init(const uint8_t *config, uint32_t len) {
    mp_in in = {config, config + len};
    mp_item name = mp_get(in, "name");
    int32_t code = demo_greet(name.data, name.size);
    if (code) memcpy(detail, "the greeting was refused", 25);
    return code;
}
PULP_EXPORT(pulp_step) int32_t pulp_step(const uint8_t *data, uint32_t len) { return (void)data, (void)len, 0; }
PULP_EXPORT(pulp_shutdown) int32_t pulp_shutdown(void) { return 0; }
PULP_EXPORT(pulp_init_error_ptr) char *pulp_init_error_ptr(void) { return detail; }
PULP_EXPORT(pulp_init_error_len) uint32_t pulp_init_error_len(void) { return strlen(detail); }
