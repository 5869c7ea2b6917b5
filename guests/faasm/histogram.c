/* Counts words in two stages, the way a map and reduce job is written for Faasm.
 *
 * The text lies in shared state, put there by whoever calls. Mappers are chained by pointer, read their own range of
 * it through a pointer, and append one record per word that they saw to a list; one reducer, chained by name, sorts
 * the list and puts the most frequent words out. On the way every stage leaves notes in files: a private one, and one
 * that all functions of the user share. */
#include <stdio.h>
#include <sys/stat.h>
#include "faasm.h"

#define TEXT "corpus"
#define RECORDS "records"
#define NOTES "faasm://jobs/histogram/notes.txt"
#define WORDS 512

struct range { int total, start, length; };
struct record { char word[24]; int count, mapper; };

static int letter(int c) { return (c >= 'a' && c <= 'z') || (c >= 'A' && c <= 'Z'); }

static int note(const char *path, const char *how, const char *text) {
    FILE *file = fopen(path, how);
    if (!file) return 0;
    fputs(text, file);
    return fclose(file) == 0;
}

static void add(struct record *records, int *used, const char *word, int length, int count) {
    if (length > 23) length = 23;
    for (int i = 0; i < *used; i++)
        if ((int)strlen(records[i].word) == length && !memcmp(records[i].word, word, (size_t)length)) {
            records[i].count += count;
            return;
        }
    if (*used == WORDS) return;
    struct record *fresh = &records[(*used)++];
    memset(fresh, 0, sizeof *fresh);
    memcpy(fresh->word, word, (size_t)length);
    fresh->count = count;
}

int map(void) {
    static struct record records[WORDS];
    struct range range;
    char path[64];
    int used = 0;
    if (faasmGetInput(&range, sizeof range) != sizeof range) return 1;
    const uint8_t *text = faasmReadStateOffsetPtr(TEXT, range.total, range.start, range.length);
    for (int at = 0; at < range.length;) {
        int end = at;
        while (end < range.length && letter(text[end])) end++;
        if (end > at) add(records, &used, (const char *)text + at, end - at, 1);
        at = end + 1;
    }
    for (int i = 0; i < used; i++) {
        records[i].mapper = range.start;
        faasmAppendState(RECORDS, &records[i], sizeof records[i]);
    }
    mkdir("/tmp/parts", 0777); /* somebody may have been quicker */
    snprintf(path, sizeof path, "/tmp/parts/%d", range.start);
    if (!note(path, "w", "done")) return 2;
    uint32_t *finished = (uint32_t *)faasmReadStatePtr("finished", 4);
    faasmLockStateWrite("finished");
    finished[0] += (uint32_t)used;
    faasmUnlockStateWrite("finished");
    return 0;
}

static int order(const void *one, const void *two) {
    const struct record *a = one, *b = two;
    return b->count != a->count ? b->count - a->count : strcmp(a->word, b->word);
}

static int reduce(const char *asked) {
    int total = 0, top = 3, used = 0, size = 0;
    char text[512];
    sscanf(asked, "reduce %d %d", &total, &top);
    struct record *all = malloc((size_t)total * sizeof *all), *merged = calloc(WORDS, sizeof *merged);
    faasmReadAppendedState(RECORDS, all, (int)((size_t)total * sizeof *all), total);
    for (int i = 0; i < total; i++) add(merged, &used, all[i].word, (int)strlen(all[i].word), all[i].count);
    qsort(merged, (size_t)used, sizeof *merged, order);
    for (int i = 0; i < used && i < top; i++)
        size += snprintf(text + size, sizeof text - (size_t)size, "%s%s=%d", i ? " " : "", merged[i].word, merged[i].count);
    if (!note(NOTES, "a", "reduced\n")) return 3;
    faasmSetOutput(text, size);
    return 0;
}

static int job(int mappers) {
    int ids[64], total = faasmReadStateSize(TEXT), started = 0;
    char request[64], *output, copy[16] = {0};
    if (total <= 0 || mappers < 1 || mappers > 64) return 10;
    uint8_t *text = malloc((size_t)total);
    if (faasmReadState(TEXT, text, total) != total) return 11;
    faasmClearAppendedState(RECORDS);
    faasmWriteState("finished", "\0\0\0", 4);
    if (!note(NOTES, "w", "begun\n")) return 12;
    for (int at = 0; at < total; started++) {
        int end = started == mappers - 1 ? total : at + total / mappers;
        if (end > total) end = total;
        while (end < total && letter(text[end])) end++; /* no word is cut in two */
        struct range range = {total, at, end - at};
        ids[started] = faasmChain(map, &range, sizeof range);
        at = end;
    }
    for (int i = 0; i < started; i++)
        if (faasmAwaitCall(ids[i])) return 13;
    int records = 0, length = 0;
    faasmReadState("finished", &records, 4);
    int id = faasmChainNamed("histogram", request, snprintf(request, sizeof request, "reduce %d 3", records));
    if (faasmAwaitCallOutput(id, &output, &length)) return 14;
    FILE *file = fopen(NOTES, "r");
    if (!file || fread(copy, 1, 15, file) != 14 || strcmp(copy, "begun\nreduced\n")) return 15;
    fclose(file);
    faasmSetOutput(output, length);
    free(output);
    return 0;
}

int main(void) {
    char input[64] = {0};
    faasmGetInput(input, sizeof input - 1);
    return strncmp(input, "reduce", 6) ? job(atoi(input)) : reduce(input);
}
