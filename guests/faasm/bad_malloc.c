/* Writes beyond what it allocated: within its own memory that harms nobody else, beyond it the call ends. */
#include "faasm.h"

int main(void) {
    volatile char *text = malloc(16);
    for (int i = 0; i < 4096; i++) text[i] = 'x';
    for (volatile char *end = text;; end += 4096) *end = 'y';
}
