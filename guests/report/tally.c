// build: faasm
/* Counts the words of one part of a text that lies in shared state; the text itself is not copied. */
#include <faasm.h>
#include "words.h"

int main(void) {
    char task[96] = "", key[64];
    int start, end;
    faasmGetInput(task, sizeof task - 1);
    if (sscanf(task, "%63s %d %d", key, &start, &end) != 3) return 2;
    int size = faasmReadStateSize(key);
    if (start < 0 || end > size || start > end) return 3;
    const char *text = (const char *)faasmReadStatePtr(key, size);
    word_count(text, (uint32_t)size, (uint32_t)start, (uint32_t)end);
    uint32_t length;
    char *lines = word_lines(WORD_SLOTS, &length);
    faasmSetOutput(lines, (int)length);
    return 0;
}
