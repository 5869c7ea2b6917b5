/* Counts words: the input is cut into pieces at line ends, one child each; the counts come back as output. */
#include <stdio.h>
#include "faasm.h"

#define PIECES 8

static int is_letter(unsigned char c) { return (c | 32) >= 'a' && (c | 32) <= 'z'; }

int count_piece(void) {
    int size = faasmGetInputSize(), words = 0, inside = 0;
    unsigned char *text = malloc((size_t)size + 1);
    faasmGetInput(text, size);
    for (int i = 0; i < size; i++) {
        int letter = is_letter(text[i]);
        words += letter && !inside;
        inside = letter;
    }
    faasmSetOutput(&words, sizeof words);
    return 0;
}

int main(void) {
    int size = faasmGetInputSize(), ids[PIECES], total = 0, start = 0;
    char *text = malloc((size_t)size + 1), report[32];
    faasmGetInput(text, size);
    for (int i = 0; i < PIECES; i++) {
        int end = i == PIECES - 1 ? size : (int)((int64_t)size * (i + 1) / PIECES);
        while (end < size && text[end] != '\n') end++;
        if (end < start) end = start;
        ids[i] = faasmChain(count_piece, text + start, end - start);
        start = end;
    }
    for (int i = 0; i < PIECES; i++) {
        char *output = NULL;
        int length = 0, words = 0;
        if (faasmAwaitCallOutput(ids[i], &output, &length) || length != 4) return 1;
        memcpy(&words, output, 4);
        free(output);
        total += words;
    }
    faasmSetOutput(report, snprintf(report, sizeof report, "%d", total));
    return 0;
}
