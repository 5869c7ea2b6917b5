// build: faasm-dl
/* Loads the libraries that its test put into place; the input picks what is tried. */
#include <stdio.h>
#include "faasm.h"

#define ONE "/lib/one.so"
#define TWO "lib/two.so"

__attribute__((visibility("default"), used)) int from_main(int x) { return x * 2; }
__attribute__((visibility("default"), used)) int main_value = 1234;

typedef int (*nullary)(void);
typedef int (*unary)(int);

static void *need(int handle, const char *name) {
    void *found = faasm_dlsym(handle, name);
    if (!found) {
        const char *why = faasm_dlerror();
        faasmSetOutput(why, (int)strlen(why));
        exit(90);
    }
    return found;
}

static int basics(void) {
    int one = faasm_dlopen(ONE, 2);
    if (one != 2 || faasm_dlopen(ONE, 0) != one || faasm_dlopen("lib/../lib/one.so", 0) != one) return 1;
    if (((nullary)need(one, "one_sum"))() != 6) return 2;
    if (((nullary)need(one, "one_constructed"))() != 7) return 3;
    if (((int (*)(int, int))need(one, "one_apply"))(1, 5) != 7) return 4;
    if (*(int *)need(one, "counter") != 40 || ((nullary)need(one, "one_count"))() != 41) return 5;
    if (*(int *)need(one, "counter") != 41) return 6;
    if (((unary)need(one, "one_calls_main"))(21) != 43) return 7;
    if (need(one, "one_sum") != need(one, "one_sum")) return 8;
    ((void (*)(void))need(one, "one_output"))();
    return faasm_dlclose(one);
}

static int mutual(void) {
    int one = faasm_dlopen(ONE, 0), two = faasm_dlopen(TWO, 0);
    if (one != 2 || two != 3) return 1;
    if (((unary)need(one, "one_calls_two"))(5) != 1060) return 2;      /* one -> two -> one */
    unary pointer = ((unary (*)(void))need(one, "one_pointer_to_two"))();
    if (pointer(1) != 102) return 3;
    ((nullary)need(one, "one_count"))();
    return ((nullary)need(two, "two_reads_counter"))() == 41 ? 0 : 4;  /* data of another library */
}

static int main_handle(void) {
    int main_ = faasm_dlopen(NULL, 0);
    if (main_ != 999) return 1;
    if (((unary)need(main_, "from_main"))(4) != 8) return 2;
    if (*(int *)need(main_, "main_value") != 1234) return 3;
    void (*output)(const void *, int) = (void (*)(const void *, int))need(main_, "__faasm_write_output");
    output("through a pointer", 17);
    return faasm_dlclose(main_);
}

static int errors(void) {
    if (faasm_dlerror()) return 1;                                     /* nothing went wrong yet */
    if (faasm_dlopen("/lib/nowhere.so", 0) || faasm_dlopen("/lib", 0) || faasm_dlopen("", 0)) return 2;
    const char *why = faasm_dlerror();
    if (!why || !*why || faasm_dlerror()) return 3;
    if (faasm_dlopen("/lib/plain.wasm", 0) || !strstr(faasm_dlerror(), "dylink.0")) return 4;
    if (faasm_dlopen("/lib/garbage.so", 0) || !faasm_dlerror()) return 5;
    int one = faasm_dlopen(ONE, 0);
    if (faasm_dlsym(one, "no_such_symbol") || !strstr(faasm_dlerror(), "no_such_symbol")) return 6;
    if (faasm_dlsym(77, "one_sum") || !faasm_dlerror() || faasm_dlclose(77) == 0 || !faasm_dlerror()) return 7;
    return faasm_dlsym(999, "no_such_symbol") || !faasm_dlerror() ? 8 : 0;
}

static int fresh(void) { /* no call sees what another one loaded or changed */
    int one = faasm_dlopen(ONE, 0);
    return one == 2 && ((nullary)need(one, "one_count"))() == 41 ? 0 : 1;
}

int main(void) {
    char what = 0;
    faasmGetInput(&what, 1);
    switch (what) {
        case 'b': return basics();
        case 'm': return mutual();
        case 'h': return main_handle();
        case 'e': return errors();
        case 'f': return fresh();
        case 'u': /* a function that nobody brings is only missed when it is called */
            return ((unary)need(faasm_dlopen(ONE, 0), "one_calls_two"))(5);
        case 't': faasm_dlopen(ONE, 0); return ((nullary)need(faasm_dlopen(TWO, 0), "two_traps"))();
        default: return 100;
    }
}
