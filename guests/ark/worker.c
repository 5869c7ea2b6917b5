/* build: bare */
/* The module that the acceptance cases launch (functions named as there), and a few more. */
#define ARK_IMPLEMENT_ALLOC
#include "ark.h"

ARK_EXPORT("echo") ArkCode echo(const uint8_t *input, uint32_t length) {
    ark_return(input, length);
    return ARK_SUCCESS;
}

/* Counts, one slow division per step: much time for little fuel. */
static void count_to(uint32_t steps) {
    volatile uint64_t divisor = 3;
    uint64_t value = ~0ull;
    for (uint32_t i = 0; i < steps; i++) value = (value / divisor) ^ 0xf000000000000000ull;
    divisor = value;
}

/* Echo after about a third of a second. */
ARK_EXPORT("slow") ArkCode slow(const uint8_t *input, uint32_t length) {
    count_to(45000000);
    return echo(input, length);
}

/* Echo after about a millisecond. */
ARK_EXPORT("brief") ArkCode brief(const uint8_t *input, uint32_t length) {
    count_to(150000);
    return echo(input, length);
}

ARK_EXPORT("upper") ArkCode upper(const uint8_t *input, uint32_t length) {
    uint8_t *out = ark_alloc(length, 1);
    for (uint32_t i = 0; i < length; i++)
        out[i] = input[i] >= 'a' && input[i] <= 'z' ? input[i] - 32 : input[i];
    ark_return(out, length);
    return ARK_SUCCESS;
}

ARK_EXPORT("boom") ArkCode boom(const uint8_t *input, uint32_t length) {
    (void)input, (void)length;
    __builtin_trap();
}

/* Leaves a panic text, as a Rust panic hook does, and traps. */
ARK_EXPORT("panics") ArkCode panics(const uint8_t *input, uint32_t length) {
    ark_core_register_panic((const char *)input, length, "src/lib.rs", 10, 12, 5);
    __builtin_trap();
}

ARK_EXPORT("loop") ArkCode loop(const uint8_t *input, uint32_t length) {
    (void)input, (void)length;
    for (volatile uint32_t i = 0;; i++) {}
}

ARK_EXPORT("code_n") ArkCode code_n(const uint8_t *input, uint32_t length) {
    ark_return("ignored unless the code is 0", 0);
    return length ? input[0] : ARK_INVALID_ARGUMENTS;
}

ARK_EXPORT("none") ArkCode none(const uint8_t *input, uint32_t length) {
    (void)input, (void)length;
    return ARK_SUCCESS;
}

static uint32_t count;

ARK_EXPORT("counter") ArkCode counter(const uint8_t *input, uint32_t length) {
    (void)input, (void)length;
    count++;
    ark_return(&count, sizeof count);
    return ARK_SUCCESS;
}

ARK_EXPORT("late") ArkCode late(const uint8_t *input, uint32_t length) {
    uint8_t buffer[64];
    uint32_t size = length < sizeof buffer ? length : sizeof buffer;
    for (uint32_t i = 0; i < size; i++) buffer[i] = input[i];
    ark_return(buffer, size);
    for (uint32_t i = 0; i < size; i++) ((volatile uint8_t *)buffer)[i] = '#';
    return ARK_SUCCESS;
}

ARK_EXPORT("twice") ArkCode twice(const uint8_t *input, uint32_t length) {
    (void)input, (void)length;
    ark_return("a", 1);
    ark_return("bb", 2);
    return ARK_SUCCESS;
}

/* Returns as many bytes as the first four of the input say. */
ARK_EXPORT("sized") ArkCode sized(const uint8_t *input, uint32_t length) {
    if (length < 4) return ARK_INVALID_ARGUMENTS;
    uint32_t size = *(const uint32_t *)input;
    uint8_t *out = ark_alloc(size, 8);
    if (!out) return ARK_INTERNAL_ERROR;
    ark_return(out, size);
    return ARK_SUCCESS;
}

/* Writes its input to the host's log, one line per level, then one at a level that does not exist. */
ARK_EXPORT("logs") ArkCode logs(const uint8_t *input, uint32_t length) {
    for (uint32_t level = ARK_LOG_ERROR; level <= ARK_LOG_TRACE; level++)
        if (ark_core_log(level, (const char *)input, length) != ARK_SUCCESS) return ARK_INTERNAL_ERROR;
    return ark_core_log(5, (const char *)input, length) == ARK_INVALID_ARGUMENTS ? ARK_SUCCESS
                                                                                 : ARK_INTERNAL_ERROR;
}

/* Reads its input a second time through core__get_input_slice, three bytes at a time. */
ARK_EXPORT("pieces") ArkCode pieces(const uint8_t *input, uint32_t length) {
    (void)input;
    uint8_t *out = ark_alloc(length + 3, 1);
    uint32_t have = 0;
    for (uint32_t got; (got = ark_core_get_input_slice(out + have, 3, have)) != 0; have += got) {}
    ark_return(out, have);
    return have == length ? ARK_SUCCESS : ARK_INTERNAL_ERROR;
}

/* Runs one of this module's own functions, in the background when the flag is set; returns its output. */
static ArkCode relay(const char *name, const void *input, uint32_t length, int background) {
    ArkFunction function;
    ArkRequest request;
    uint32_t size;
    ArkCode code = ark_own(name, &function);
    if (code) return code;
    code = background ? ark_launch(function, input, length, &request)
                      : ark_blocking_launch(function, input, length, &request);
    if (code) return code;
    code = ark_wait(request, &size);
    if (code) return code;
    uint8_t *out = ark_alloc(size, 8);
    code = ark_retrieve(request, out, size);
    if (code) return code;
    ark_return(out, size);
    return ark_remove_function(function);
}

/* Upper case by a child of its own module. */
ARK_EXPORT("own") ArkCode own(const uint8_t *input, uint32_t length) { return relay("upper", input, length, 0); }

/* The same, with the child in the background and this one polling for it. */
ARK_EXPORT("polls") ArkCode polls(const uint8_t *input, uint32_t length) { return relay("upper", input, length, 1); }

/* Nests as deep as the first input byte says: blocking launches, or polled ones (second byte 1). */
ARK_EXPORT("nest") ArkCode nest(const uint8_t *input, uint32_t length) {
    if (length != 2) return ARK_INVALID_ARGUMENTS;
    if (input[0] == 0) {
        ark_return("bottom", 6);
        return ARK_SUCCESS;
    }
    uint8_t next[2] = {input[0] - 1, input[1]};
    return relay("nest", next, 2, input[1]);
}

/* Starts as many endless children as the first input byte says; the second says how it goes on:
 * 0 returns, 1 traps, 2 runs for ever, 3 makes every child do the same with one level less (third byte). */
ARK_EXPORT("brood") ArkCode brood(const uint8_t *input, uint32_t length) {
    if (length < 2) return ARK_INVALID_ARGUMENTS;
    ArkFunction function;
    ArkRequest request;
    uint8_t next[3] = {input[0], input[1], length > 2 ? input[2] - 1 : 0};
    int deeper = length > 2 && input[2] > 0;
    if (ark_own(deeper ? "brood" : "loop", &function)) return ARK_INTERNAL_ERROR;
    for (uint32_t i = 0; i < input[0]; i++) {
        ArkCode code = ark_launch(function, next, deeper ? 3 : 0, &request);
        if (code) return code;
    }
    if (input[1] == 1) __builtin_trap();
    if (input[1] == 2) return loop(input, length);
    return ARK_SUCCESS;
}
