/* What the guests of tests/cross have in common: each answers, fails, traps or calls another guest, as its
 * input says:
 *
 *     fail                          returns code 6, after having written some output
 *     trap                          traps
 *     spin                          runs for ever
 *     call|GUEST|ENTRY|INPUT        calls another guest; the output is "CODE|OUTPUT" as this interface
 *                                   sees them. INPUT may be of the same form.
 *     anything else                 is put out again, with the interface's name in front
 *
 * A guest defines CROSS_NAME and, if it can call, cross_call.
 */
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

enum { CROSS_FAILED = 6, CROSS_ROOM = 4096 };

typedef struct {
    char data[CROSS_ROOM];
    uint32_t size;
} cross_text;

/* Calls `guest`; writes "CODE|OUTPUT". */
static void cross_call(const char *guest, const char *entry, const char *input, uint32_t size, cross_text *out);

static void cross_put(cross_text *out, const void *data, uint32_t size) {
    if (size > CROSS_ROOM - out->size) size = CROSS_ROOM - out->size;
    memcpy(out->data + out->size, data, size);
    out->size += size;
}

static void cross_put_code(cross_text *out, int code) {
    char text[16], *at = text + sizeof text;
    unsigned value = code < 0 ? 0u - (unsigned)code : (unsigned)code;
    do *--at = (char)('0' + value % 10); while (value /= 10);
    if (code < 0) *--at = '-';
    cross_put(out, at, (uint32_t)(text + sizeof text - at));
    cross_put(out, "|", 1);
}

static int cross_is(const char *input, uint32_t size, const char *word) {
    return size == strlen(word) && memcmp(input, word, size) == 0;
}

/* Serves one input; returns the guest's code. */
static int cross_serve(const char *input, uint32_t size, cross_text *out) {
    static char copy[CROSS_ROOM + 1];
    static volatile uint32_t turns;
    out->size = 0;
    if (cross_is(input, size, "fail")) {
        cross_put(out, "it failed", 9);
        return CROSS_FAILED;
    }
    if (cross_is(input, size, "trap")) __builtin_trap();
    if (cross_is(input, size, "spin"))
        for (;;) turns++;
    if (size > 5 && size < CROSS_ROOM && memcmp(input, "call|", 5) == 0) {
        memcpy(copy, input, size);
        copy[size] = 0;
        char *guest = copy + 5, *entry = strchr(guest, '|'), *rest = entry ? strchr(entry + 1, '|') : 0;
        if (!rest) return CROSS_FAILED;
        *entry++ = 0, *rest++ = 0;
        cross_call(guest, entry, rest, (uint32_t)(copy + size - rest), out);
        return 0;
    }
    cross_put(out, CROSS_NAME ":", sizeof CROSS_NAME);
    cross_put(out, input, size);
    return 0;
}
