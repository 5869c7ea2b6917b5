// Prints its standard input in capitals and leaves with code 7.
#include <ctype.h>
#include <stdio.h>

int main(void) {
    for (int c; (c = getchar()) != EOF;) putchar(toupper(c));
    return 7;
}
