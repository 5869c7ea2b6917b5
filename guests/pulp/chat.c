/* A chat: WebSocket clients talk in rooms, and whoever only wants to read follows a room's event stream.
 *
 *   GET /rooms/:room   (WebSocket)     what one client says, all others of the room hear
 *   GET /follow/:room  (event stream)  the same, one event for each message
 *   GET /count                         how many clients are connected
 *
 * Written from the description of the interface alone: no header, its own few bytes of MessagePack.
 */
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#define IMPORT(name) __attribute__((import_module("pulp"), import_name(#name))) int32_t name
#define EXPORT(name) __attribute__((export_name(#name), used)) name

IMPORT(http_register)(const void *request, uint32_t size);
IMPORT(http_respond)(const void *request, uint32_t size);
IMPORT(ws_register)(const void *path, uint32_t size);
IMPORT(ws_send)(const void *request, uint32_t size);
IMPORT(ws_close)(const void *request, uint32_t size);
IMPORT(sse_register)(const void *path, uint32_t size);
IMPORT(sse_emit)(const void *request, uint32_t size);

void *EXPORT(pulp_alloc)(uint32_t size) { return malloc(size); }
void EXPORT(pulp_free)(void *block, uint32_t size) { (void)size, free(block); }

/* --- writing: maps of up to 15 pairs, every text and number in its longest form --- */

static uint8_t buffer[1 << 17], *end;

static void begin(int pairs) { end = buffer, *end++ = (uint8_t)(0x80 | pairs); }
static void head(uint8_t tag, uint64_t number, int bytes) {
    for (*end++ = tag; bytes--;) *end++ = (uint8_t)(number >> (8 * bytes));
}
static void text(const char *data, uint32_t size) { head(0xdb, size, 4), memcpy(end, data, size), end += size; }
static void word(const char *data) { text(data, (uint32_t)strlen(data)); }
static void blob(const void *data, uint32_t size) { head(0xc6, size, 4), memcpy(end, data, size), end += size; }
static void number(const char *key, uint64_t value) { word(key), head(0xcf, value, 8); }
static uint32_t length(void) { return (uint32_t)(end - buffer); }

/* --- reading: walks to the value of a key in a map --- */

typedef struct { const uint8_t *data; uint32_t size; uint64_t number; } value;

static uint64_t big(const uint8_t *at, int bytes) {
    uint64_t number = 0;
    while (bytes--) number = number << 8 | *at++;
    return number;
}
/* What stands at `*at`: a number, or the place and size of text; for a list or map its count. Moves on behind
 * it, for a list or map only behind its head. */
static value next(const uint8_t **at) {
    uint8_t tag = *(*at)++;
    value v = {*at, 0, 0};
    int width = 0;
    if (tag < 0x80) v.number = tag;
    else if (tag < 0xa0) v.number = tag & 15;
    else if (tag < 0xc0) v.size = tag & 31;
    else if (tag >= 0xcc && tag <= 0xcf) v.number = big(*at, width = 1 << (tag - 0xcc));
    else if (tag >= 0xd0 && tag <= 0xd3) v.number = big(*at, width = 1 << (tag - 0xd0));
    else if (tag >= 0xc4 && tag <= 0xc6) v.size = (uint32_t)big(*at, width = 1 << (tag - 0xc4));
    else if (tag >= 0xd9 && tag <= 0xdb) v.size = (uint32_t)big(*at, width = 1 << (tag - 0xd9));
    else if (tag >= 0xdc && tag <= 0xdf) v.number = big(*at, width = tag & 1 ? 4 : 2);
    *at += width, v.data = *at, *at += v.size;
    return v;
}
static void skip(const uint8_t **at) {
    uint8_t tag = **at;
    uint64_t inner = 0;
    value v = next(at);
    if ((tag & 0xf0) == 0x90 || tag == 0xdc || tag == 0xdd) inner = v.number;
    if ((tag & 0xf0) == 0x80 || tag == 0xde || tag == 0xdf) inner = 2 * v.number;
    while (inner--) skip(at);
}
static const uint8_t *find(const uint8_t *map, const char *key) {
    for (uint64_t pairs = next(&map).number; pairs--; skip(&map)) {
        value name = next(&map);
        if (name.size == strlen(key) && !memcmp(name.data, key, name.size)) return map;
    }
    return NULL;
}
static value get(const uint8_t *map, const char *key) {
    const uint8_t *at = find(map, key);
    return at ? next(&at) : (value){0, 0, 0};
}

/* --- the chat --- */

static struct client { uint64_t connection; char room[64]; } clients[1024];
static uint32_t count, spoken;

static struct client *known(uint64_t connection) {
    for (uint32_t i = 0; i < count; i++) if (clients[i].connection == connection) return &clients[i];
    return NULL;
}

static void say(uint64_t connection, const void *data, uint32_t size) {
    begin(3), number("conn_id", connection), number("opcode", 1), word("payload"), blob(data, size);
    ws_send(buffer, length());
}

static void heard(const struct client *speaker, const void *data, uint32_t size) {
    char path[80], id[16];
    for (uint32_t i = 0; i < count; i++)
        if (&clients[i] != speaker && !strcmp(clients[i].room, speaker->room)) say(clients[i].connection, data, size);
    int n = snprintf(path, sizeof path, "/follow/%s", speaker->room), m = snprintf(id, sizeof id, "%u", ++spoken);
    begin(4), word("path"), text(path, (uint32_t)n), word("id"), text(id, (uint32_t)m), word("event"), word("said");
    word("data"), text(data, size);
    sse_emit(buffer, length());
}

static void opened(const uint8_t *event) {
    value path = get(event, "path");
    uint64_t connection = get(event, "conn_id").number;
    uint32_t room = path.size - 7; /* behind "/rooms/" */
    if (count == 1024 || room >= sizeof clients[0].room) {
        begin(3), number("conn_id", connection), number("code", 1013), word("reason"), word("full");
        ws_close(buffer, length());
        return;
    }
    clients[count].connection = connection;
    memcpy(clients[count].room, path.data + 7, room), clients[count++].room[room] = 0;
}

static void answer(const uint8_t *request) {
    char body[16];
    int n = snprintf(body, sizeof body, "%u", count);
    begin(4), number("id", get(request, "id").number), number("status", 200), word("headers"), *end++ = 0x80;
    word("body"), blob(body, (uint32_t)n);
    http_respond(buffer, length());
}

int32_t EXPORT(pulp_init)(const uint8_t *config, uint32_t size) {
    (void)config, (void)size;
    begin(2), word("method"), word("GET"), word("path"), word("/count");
    int32_t code = http_register(buffer, length());
    if (!code) code = ws_register("/rooms/:room", 12);
    return code ? code : sse_register("/follow/:room", 13);
}

int32_t EXPORT(pulp_step)(const uint8_t *envelope, uint32_t size) {
    if (size <= 20) return 0;
    value kind = get(envelope + 20, "kind");
    const uint8_t *event = find(envelope + 20, "payload");
    if (!event) return 1;
#define IS(name) (kind.size == strlen(name) && !memcmp(kind.data, name, kind.size))
    if (IS("http.request")) {
        answer(event);
    } else if (IS("ws.open")) {
        opened(event);
    } else {
        struct client *client = known(get(event, "conn_id").number);
        value said = get(event, "payload");
        if (IS("ws.frame") && client && said.size < 1 << 16) heard(client, said.data, said.size);
        if (IS("ws.close") && client) *client = clients[--count];
    }
    return 0;
}
int32_t EXPORT(pulp_shutdown)(void) { return 0; }
