/* build: reactor */
#include "grafos.h"
#define CROSS_NAME "grafos"
#include "cross.h"

/* The code is 100 times the reason, plus the exit code. */
static void cross_call(const char *guest, const char *entry, const char *input, uint32_t size, cross_text *out) {
    static char buffer[CROSS_ROOM];
    struct tasklet_request request = {
        .module = guest, .module_length = (uint32_t)strlen(guest), .entry = entry,
        .entry_length = (uint32_t)strlen(entry), .input = input, .input_length = size, .output = buffer,
        .output_capacity = sizeof buffer, .fuel = 50000000000,
    };
    struct tasklet_result result = {0};
    int code = tasklet_submit(&request, &result);
    cross_put_code(out, code ? code : (int)(100 * result.reason) + result.exit_code);
    cross_put(out, buffer, code ? 0 : result.output_length);
}

__attribute__((export_name("tasklet_run")))
int tasklet_run(const char *input, uint32_t size, char *output, uint32_t room) {
    static cross_text out;
    int code = cross_serve(input, size, &out);
    if (code) return -code;
    if (out.size > room) return -1;
    memcpy(output, out.data, out.size);
    return (int)out.size;
}
