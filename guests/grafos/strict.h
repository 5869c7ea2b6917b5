/* What the strict guests share: they check by themselves what they are told, at addresses of every alignment,
 * and answer with the negative number of the first line that was wrong. */
#include "grafos.h"

static int wrong_line;
#define CHECK(truth)                                           \
    do {                                                       \
        if (!(truth) && !wrong_line) wrong_line = __LINE__;    \
    } while (0)

static inline void fill(void *at, int value, uint32_t length) {
    for (uint32_t i = 0; i < length; i++) ((uint8_t *)at)[i] = (uint8_t)value;
}

static inline int is_all(const void *at, int value, uint32_t length) {
    for (uint32_t i = 0; i < length; i++)
        if (((const uint8_t *)at)[i] != (uint8_t)value) return 0;
    return 1;
}

static inline int same(const void *left, const void *right, uint32_t length) {
    for (uint32_t i = 0; i < length; i++)
        if (((const uint8_t *)left)[i] != ((const uint8_t *)right)[i]) return 0;
    return 1;
}

static inline uint64_t word_at(const void *at) {
    uint64_t value = 0;
    for (int i = 7; i >= 0; i--) value = value << 8 | ((const uint8_t *)at)[i];
    return value;
}

static inline void put_word(void *at, uint64_t value) {
    for (int i = 0; i < 8; i++) ((uint8_t *)at)[i] = (uint8_t)(value >> (8 * i));
}

/* An address near the end of what 32 bits can say. */
#define NOWHERE ((void *)0xfffffff0)
#define ENTRY GRAFOS_EXPORT("tasklet_run") int tasklet_run
