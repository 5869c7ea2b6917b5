/* build: faasm */
#include "faasm.h"
#define CROSS_NAME "faasm"
#include "cross.h"

/* By "guest/entry", since a chained function has one name. */
static void cross_call(const char *guest, const char *entry, const char *input, uint32_t size, cross_text *out) {
    char name[256] = "", *output = 0;
    int length = 0;
    strcat(name, guest);
    if (*entry) strcat(strcat(name, "/"), entry);
    int code = faasmAwaitCallOutput(faasmChainNamed(name, input, (int)size), &output, &length);
    cross_put_code(out, code);
    cross_put(out, output, (uint32_t)length);
}

int main(void) {
    static char input[CROSS_ROOM];
    static cross_text out;
    uint32_t size = (uint32_t)faasmGetInput(input, sizeof input);
    int code = cross_serve(input, size, &out);
    faasmSetOutput(out.data, (int)out.size);
    return code;
}
