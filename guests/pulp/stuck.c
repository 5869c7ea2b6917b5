/* Never comes back from its first step. */
#include <pulp.h>

PULP_CELL

static volatile uint32_t sink;

PULP_EXPORT(pulp_init) int32_t pulp_init(const uint8_t *config, uint32_t len) { return (void)config, (void)len, 0; }
PULP_EXPORT(pulp_step) int32_t pulp_step(const uint8_t *data, uint32_t len) {
    for (;;) sink += len + *data;
}
PULP_EXPORT(pulp_shutdown) int32_t pulp_shutdown(void) { return 0; }
