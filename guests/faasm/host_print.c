/* Prints through the host instead of its own C library. */
#include <stdarg.h>
#include "faasm.h"

FAASM_IMPORT("puts") int host_puts(const char *text);
FAASM_IMPORT("putc") int host_putc(int character, void *stream);
FAASM_IMPORT("vfprintf") int host_vfprintf(void *stream, const char *format, va_list arguments);

static int print(const char *format, ...) {
    va_list arguments;
    va_start(arguments, format);
    int count = host_vfprintf(0, format, arguments);
    va_end(arguments);
    return count;
}

int main(void) {
    host_puts("a line");
    host_putc('x', 0);
    int count = print("%5d|%-5s|%05.1f|%lld|%x|%c|%%|%.3s|%hhd|%u|%*d|\n", -42, "ab", 3.14159, 1LL << 40, 255u, 'q',
                      "abcdef", 300, 4000000000u, 4, 7);
    return count == 63 ? 0 : count;
}
