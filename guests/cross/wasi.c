/* build: command */
#define CROSS_NAME "wasi"
#include "cross.h"

/* Preview 1 has no way to call another guest. */
static void cross_call(const char *guest, const char *entry, const char *input, uint32_t size, cross_text *out) {
    (void)guest, (void)entry, (void)input, (void)size;
    cross_put_code(out, -1);
}

int main(void) {
    static char input[CROSS_ROOM];
    static cross_text out;
    uint32_t size = (uint32_t)fread(input, 1, sizeof input, stdin);
    int code = cross_serve(input, size, &out);
    fwrite(out.data, 1, out.size, stdout);
    return code;
}
