// build: reactor
/* Finds the most frequent words: parts of the list are ranked in parallel launches of its own function. */
#define ARK_IMPLEMENT_ALLOC
#include "ark.h"
#include "words.h"

enum { LAUNCHES = 4, MOST = 12 };

/* Ranks one list: "WORD COUNT" lines in, the MOST most frequent of them out. */
ARK_EXPORT("top") ArkCode top(const char *lines, uint32_t size) {
    uint32_t length;
    word_parse(lines, size);
    char *best = word_lines(MOST, &length);
    ark_return(best, length);
    return ARK_SUCCESS;
}

/* The end of the line that byte `at` of a list lies in. */
static uint32_t line_end(const char *lines, uint32_t size, uint32_t at) {
    while (at < size && lines[at] != '\n') at++;
    return at < size ? at + 1 : size;
}

ARK_EXPORT("rank") ArkCode rank(const char *lines, uint32_t size) {
    ArkFunction function;
    ArkRequest requests[LAUNCHES];
    ArkCode code = ark_own("top", &function);
    uint32_t start = 0, have = 0;
    for (uint32_t i = 0; i < LAUNCHES && !code; i++) {
        uint32_t end = i + 1 < LAUNCHES ? line_end(lines, size, size / LAUNCHES * (i + 1)) : size;
        code = ark_launch(function, lines + start, end - start, &requests[i]);
        start = end;
    }
    char *best = malloc(LAUNCHES * MOST * (WORD_LONGEST + 13));
    for (uint32_t i = 0; i < LAUNCHES && !code; i++) {
        uint32_t length = 0;
        code = ark_wait(requests[i], &length);
        if (!code) code = ark_retrieve(requests[i], best + have, length);
        have += length;
    }
    if (code) return code == ARK_UNAVAILABLE ? ARK_INTERNAL_ERROR : code;
    return top(best, have);
}
