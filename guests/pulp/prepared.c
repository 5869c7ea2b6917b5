/* Prepares a table in `pulp_init`; its configuration says what else it does there that a snapshot may mind. */
#include <stdio.h>
#include <time.h>
#include <unistd.h>
#include <pulp.h>

PULP_CELL


static volatile int constructions, initialisations, steps;
static uint32_t *table, entries, logged;
static uint64_t drawn;

__attribute__((constructor)) static void construct(void) { constructions++; }

PULP_EXPORT(pulp_init) int32_t pulp_init(const uint8_t *config, uint32_t len) {
    mp_in in = {config, config + len};
    mp_item mode = mp_get(in, "mode");
    initialisations++;
    entries = (uint32_t)mp_get(in, "entries").number;
    table = malloc(4 * (entries + 1));
    for (uint32_t i = 0; i < entries; i++) table[i] = i * i;
    if (mp_is(mode, "route")) return pulp_route("GET", "/prepared");
    if (mp_is(mode, "random")) getentropy(&drawn, sizeof drawn);
    if (mp_is(mode, "clock")) drawn = (uint64_t)time(0) > 0;
    if (mp_is(mode, "log")) logged = 1 + (uint32_t)log_write(1, "prepared", 8);
    if (mp_is(mode, "fail")) return 7;
    if (mp_is(mode, "trap")) __builtin_trap();
    if (mp_is(mode, "leave")) _exit(0);
    return 0;
}
PULP_EXPORT(pulp_step) int32_t pulp_step(const uint8_t *data, uint32_t len) { return (void)data, (void)len, steps++, 0; }
PULP_EXPORT(pulp_shutdown) int32_t pulp_shutdown(void) { return 0; }

/* Whatever the name: constructions, initialisations, steps, entries, the last entry, lines logged. */
PULP_EXPORT(pulp_on_call)
int32_t pulp_on_call(const char *name, uint32_t name_len, const uint8_t *args, uint32_t args_len, uint32_t *out,
                     uint32_t *out_len) {
    (void)name, (void)name_len, (void)args, (void)args_len;
    char *reply = pulp_alloc(128);
    *out = (uint32_t)reply;
    *out_len = (uint32_t)snprintf(reply, 128, "%d %d %d %u %u %u", constructions, initialisations, steps, entries,
                                  entries ? table[entries - 1] : 0, logged);
    return 0;
}
