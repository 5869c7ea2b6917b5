/* A provider whose responses are trees that the host reads in place: a count, then a list of names. */
#include <pulp.h>

PULP_CELL

struct name { const char *text; uint32_t len; };
struct names { uint32_t count; struct name *items; int64_t sum; };

PULP_EXPORT(pulp_init) int32_t pulp_init(const uint8_t *config, uint32_t len) { return (void)config, (void)len, 0; }
PULP_EXPORT(pulp_step) int32_t pulp_step(const uint8_t *data, uint32_t len) { return (void)data, (void)len, 0; }
PULP_EXPORT(pulp_shutdown) int32_t pulp_shutdown(void) { return 0; }

PULP_EXPORT(pulp_on_call)
int32_t pulp_on_call(const char *name, uint32_t name_len, const uint8_t *args, uint32_t args_len, uint32_t *out,
                     uint32_t *out_len) {
    if (name_len != 5 || memcmp(name, "split", 5)) return 10;
    struct names *root = pulp_alloc(sizeof *root);
    root->count = 0, root->sum = 0;
    root->items = pulp_alloc((args_len + 1) * sizeof *root->items);
    for (uint32_t at = 0; at < args_len;) {
        uint32_t end = at;
        while (end < args_len && args[end] != ' ') end++;
        char *text = pulp_alloc(end - at);
        memcpy(text, args + at, end - at);
        root->items[root->count++] = (struct name){text, end - at};
        root->sum += end - at;
        at = end + 1;
    }
    *out = (uint32_t)root, *out_len = sizeof *root;
    return 0;
}

PULP_EXPORT(pulp_post_return) void pulp_post_return(struct names *root, uint32_t len) {
    (void)len;
    for (uint32_t i = 0; i < root->count; i++) pulp_free((void *)root->items[i].text, root->items[i].len);
    pulp_free(root->items, 0);
    pulp_free(root, sizeof *root);
}
