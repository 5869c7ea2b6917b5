// build: reactor
/* Takes a text over HTTP and has four guests of other interfaces work on it, one after the other:
 * `split` (Faasm) counts its words, `rank` (Ark) picks the most frequent, `layout` (WASI) makes a report of
 * them, `archive` (fabric) keeps it in leased blocks. Their order and names are all that is known of them here. */
#include <pulp.h>
#include <stdio.h>

PULP_CELL

typedef struct {
    const uint8_t *data;
    uint32_t size, block;
} piece;

PULP_EXPORT(pulp_init) int32_t pulp_init(const uint8_t *config, uint32_t len) {
    (void)config, (void)len;
    return pulp_route("POST", "/report") ? 1 : 0;
}
PULP_EXPORT(pulp_shutdown) int32_t pulp_shutdown(void) { return 0; }

/* Calls a guest with a piece and replaces the piece by what comes back. */
static int32_t through(const char *guest, const char *entry, piece *work) {
    uint32_t reply = 0, size = 0;
    int32_t code = pulp_call(guest, strlen(guest), entry, strlen(entry), work->data, work->size, &reply, &size);
    if (code) return code;
    if (work->block) pulp_free((void *)(uintptr_t)work->data, work->size);
    *work = (piece){(const uint8_t *)(uintptr_t)reply, size, 1};
    return 0;
}

static int32_t report(piece *work) {
    static const char *const steps[][2] = {
        {"split", "_start"}, {"rank", "rank"}, {"layout", "_start"}, {"archive", "tasklet_run"},
    };
    for (size_t i = 0; i < sizeof steps / sizeof *steps; i++) {
        int32_t code = through(steps[i][0], steps[i][1], work);
        if (code) return code;
    }
    return 0;
}

PULP_EXPORT(pulp_step) int32_t pulp_step(const uint8_t *data, uint32_t len) {
    pulp_envelope envelope = pulp_open(data, len);
    mp_in request;
    if (!envelope.payload_len) return 0;
    if (!mp_is(mp_get(envelope.payload, "kind"), "http.request")) return 2;
    if (!mp_find(envelope.payload, "payload", &request)) return 3;
    mp_item body = mp_get(request, "body");
    piece work = {body.data, body.size, 0};
    int32_t code = report(&work);
    if (code) work = (piece){(const uint8_t *)"the report failed\n", 18, 0};
    return pulp_respond((uint64_t)mp_get(request, "id").number, code ? 502 : 200, "text/plain", work.data, work.size);
}

/* The same without HTTP: `report` takes the text and returns the report. */
PULP_EXPORT(pulp_on_call)
int32_t pulp_on_call(const char *name, uint32_t name_len, const uint8_t *args, uint32_t args_len, uint32_t *ptr_out,
                     uint32_t *len_out) {
    (void)name, (void)name_len;
    piece work = {args, args_len, 0};
    int32_t code = report(&work);
    *ptr_out = (uint32_t)(uintptr_t)work.data, *len_out = work.size;
    return code;
}
