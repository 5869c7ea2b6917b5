/* Counts its steps and shows the marker of its configuration through the probes. */
#include <pulp.h>

PULP_CELL

static int64_t marker;
static uint64_t last_call;

PULP_EXPORT(pulp_init) int32_t pulp_init(const uint8_t *config, uint32_t len) {
    /* Like a Go guest that switches on the width: only a full-width integer counts. */
    mp_in in = {config, config + len}, value;
    if (len && mp_find(in, "marker", &value) && *value.at == 0xd3) marker = mp_next(&value).number;
    return 0;
}
PULP_EXPORT(pulp_step) int32_t pulp_step(const uint8_t *data, uint32_t len) {
    last_call = pulp_open(data, len).call_number;
    return 0;
}
PULP_EXPORT(pulp_shutdown) int32_t pulp_shutdown(void) { return 0; }
PULP_EXPORT(probe_last_call) uint64_t probe_last_call(void) { return last_call; }
PULP_EXPORT(probe_config_marker) int64_t probe_config_marker(void) { return marker; }
