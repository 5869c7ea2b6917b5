// build: command
/* Lays "WORD COUNT" lines out as a report with bars. */
#include <stdio.h>

int main(void) {
    char word[64];
    unsigned count, most = 0, n = 0;
    while (scanf("%63s %u", word, &count) == 2) {
        if (!most) most = count;
        printf("%3u. %-20s %7u  ", ++n, word, count);
        for (unsigned bar = 0; bar < count * 40 / most; bar++) putchar('#');
        putchar('\n');
    }
    if (!n) puts("no words of four letters or more");
    return 0;
}
