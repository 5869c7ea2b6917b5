// build: reactor
/* The front desk of the demo application: takes a text over HTTP, counts what is quick to count, asks the cell
 * `words`, written in Go, for the rest, and answers with both as JSON. */
#include <pulp.h>
#include <stdio.h>

PULP_CELL

PULP_EXPORT(pulp_init) int32_t pulp_init(const uint8_t *config, uint32_t len) {
    (void)config, (void)len;
    return pulp_route("POST", "/summary") ? 1 : 0;
}

static void count(const char *text, uint32_t size, uint32_t *lines, uint32_t *words) {
    int inside = 0;
    *lines = *words = 0;
    for (uint32_t i = 0; i < size; i++) {
        char c = text[i];
        int blank = c == ' ' || c == '\n' || c == '\t' || c == '\r';
        *lines += c == '\n';
        *words += inside && blank;
        inside = !blank;
    }
    *words += inside;
}

static int32_t answer(uint64_t id, mp_item body) {
    static const char target[] = "words", function[] = "top";
    uint32_t lines, words, reply = 0, reply_size = 0;
    count(body.data, body.size, &lines, &words);
    int32_t code = pulp_call(target, sizeof target - 1, function, sizeof function - 1, body.data, body.size, &reply,
                             &reply_size);
    size_t room = reply_size + 128;
    char *json = malloc(room);
    int size = snprintf(json, room, "{\"bytes\": %u, \"lines\": %u, \"words\": %u, \"most frequent\": %.*s}", body.size,
                        lines, words, code ? 4 : (int)reply_size, code ? "null" : (const char *)(uintptr_t)reply);
    code = pulp_respond(id, 200, "application/json", json, (uint32_t)size);
    free(json);
    if (reply) pulp_free((void *)(uintptr_t)reply, reply_size);
    return code;
}

PULP_EXPORT(pulp_step) int32_t pulp_step(const uint8_t *data, uint32_t len) {
    pulp_envelope envelope = pulp_open(data, len);
    mp_in request;
    if (!envelope.payload_len) return 0;
    if (!mp_is(mp_get(envelope.payload, "kind"), "http.request")) return 2;
    if (!mp_find(envelope.payload, "payload", &request)) return 3;
    return answer((uint64_t)mp_get(request, "id").number, mp_get(request, "body"));
}

PULP_EXPORT(pulp_shutdown) int32_t pulp_shutdown(void) { return 0; }
