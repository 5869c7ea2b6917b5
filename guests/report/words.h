/* Words and how often they were seen: a small hash table, and its text form, one "WORD COUNT" per line. */
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

enum { WORD_SLOTS = 1 << 15, WORD_SHORTEST = 4, WORD_LONGEST = 40 };

typedef struct {
    char word[WORD_LONGEST + 1];
    uint32_t count;
} word_slot;

static word_slot word_table[WORD_SLOTS];
static uint32_t word_used;

/* Adds a word, in lower case; words that are short, long, or too many are left out. */
static void word_add(const char *start, uint32_t length, uint32_t count) {
    char word[WORD_LONGEST + 1];
    uint32_t hash = 2166136261u;
    if (length < WORD_SHORTEST || length > WORD_LONGEST) return;
    for (uint32_t i = 0; i < length; i++) {
        word[i] = start[i] >= 'A' && start[i] <= 'Z' ? start[i] + 32 : start[i];
        hash = (hash ^ (uint8_t)word[i]) * 16777619u;
    }
    word[length] = 0;
    for (uint32_t at = hash % WORD_SLOTS;; at = (at + 1) % WORD_SLOTS) {
        word_slot *slot = &word_table[at];
        if (!slot->count) {
            if (word_used == WORD_SLOTS * 3 / 4) return;
            word_used++;
            strcpy(slot->word, word);
        } else if (strcmp(slot->word, word)) {
            continue;
        }
        slot->count += count;
        return;
    }
}

static int word_letter(char c) { return (c >= 'a' && c <= 'z') || (c >= 'A' && c <= 'Z'); }

/* Counts the words that begin in [start, end) of a text. */
static void word_count(const char *text, uint32_t size, uint32_t start, uint32_t end) {
    uint32_t at = start;
    if (start && word_letter(text[start - 1])) /* a word that began before belongs to the part before */
        while (at < size && word_letter(text[at])) at++;
    while (at < end) {
        if (!word_letter(text[at])) {
            at++;
            continue;
        }
        uint32_t from = at;
        while (at < size && word_letter(text[at])) at++;
        word_add(text + from, at - from, 1);
    }
}

/* Adds what another table wrote. */
static void word_parse(const char *lines, uint32_t size) {
    const char *at = lines, *end = lines + size;
    while (at < end) {
        const char *stop = memchr(at, '\n', (size_t)(end - at)), *space = memchr(at, ' ', (size_t)(end - at));
        if (!stop) stop = end;
        if (space && space < stop) word_add(at, (uint32_t)(space - at), (uint32_t)strtoul(space + 1, 0, 10));
        at = stop + 1;
    }
}

static int word_order(const void *one, const void *other) {
    const word_slot *a = one, *b = other;
    if (a->count != b->count) return a->count < b->count ? 1 : -1;
    return strcmp(a->word, b->word);
}

/* Writes the table, the most frequent first, at most `most` words; the caller frees the text. */
static char *word_lines(uint32_t most, uint32_t *size) {
    qsort(word_table, WORD_SLOTS, sizeof *word_table, word_order);
    if (most > word_used) most = word_used;
    char *text = malloc((size_t)most * (WORD_LONGEST + 13) + 1), *at = text;
    for (uint32_t i = 0; i < most; i++) at += sprintf(at, "%s %u\n", word_table[i].word, word_table[i].count);
    *size = (uint32_t)(at - text);
    return text;
}
