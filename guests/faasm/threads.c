// build: threads
/* pthreads: what the reference's thread functions do, and everything around them; the input picks one.
   Built over a shared memory its threads run at once, otherwise (flavour faasm) one after the other. */
#include <stdio.h>
#include "faasm.h"

#define BUSY 10
#define TIMED_OUT 73

static faasm_mutex_t mutex;
static faasm_cond_t condition;
static int32_t control;
static faasm_key_t key;
static volatile int counter, calls, destroyed, ready;
static int array[2000];
static uint8_t *mapped;

static void *double_it(void *argument) { return (void *)((uintptr_t)argument * 2); }

static void *write_local(void *argument) { /* to the parent's stack */
    int *slot = argument;
    *slot += 200;
    return NULL;
}

static int threads_local(void) {
    int values[4] = {0, 1, 2, 3};
    faasm_thread_t threads[4];
    for (int i = 0; i < 4; i++)
        if (faasm_pthread_create(&threads[i], NULL, write_local, &values[i])) return 1;
    for (int i = 0; i < 4; i++)
        if (faasm_pthread_join(threads[i], NULL)) return 2;
    for (int i = 0; i < 4; i++)
        if (values[i] != 200 + i) return 3;
    return 0;
}

static void *write_memory(void *argument) {
    int which = (int)(uintptr_t)argument;
    for (int i = 0; i < 1000; i++) array[which * 1000 + i] = which + i;
    memset(mapped + (size_t)which * 50 * 65536, 10 + which, 50 * 65536);
    return NULL;
}

static int threads_memory(void) {
    faasm_thread_t threads[2];
    mapped = faasm_mmap(NULL, 100 * 65536, 3, 0x22, -1, 0);
    for (uintptr_t i = 0; i < 2; i++) faasm_pthread_create(&threads[i], NULL, write_memory, (void *)i);
    for (int i = 0; i < 2; i++) faasm_pthread_join(threads[i], NULL);
    for (int i = 0; i < 2000; i++)
        if (array[i] != i / 1000 + i % 1000) return 1;
    for (int i = 0; i < 100 * 65536; i += 997)
        if (mapped[i] != 10 + i / (50 * 65536)) return 2;
    return 0;
}

static int results(void) {
    faasm_thread_t thread;
    void *result = NULL;
    if (faasm_pthread_create(&thread, NULL, double_it, (void *)21) || faasm_pthread_join(thread, &result)) return 1;
    if ((uintptr_t)result != 42) return 2;
    if (faasm_pthread_join(thread, NULL) == 0 || faasm_pthread_join(12345, NULL) == 0) return 3; /* once only */
    return faasm_pthread_join(faasm_pthread_self(), NULL) ? 0 : 4;
}

static void *count(void *argument) {
    for (int i = 0; i < 200; i++) {
        faasm_pthread_mutex_lock(&mutex);
        int seen = counter;
        if (i % 50 == 0) faasm_getpid(); /* a host call in between makes races likely */
        counter = seen + 1;
        faasm_pthread_mutex_unlock(&mutex);
    }
    return argument;
}

static int mutexes(void) {
    faasm_thread_t threads[4];
    faasm_pthread_mutex_init(&mutex, NULL);
    for (int i = 0; i < 4; i++) faasm_pthread_create(&threads[i], NULL, count, NULL);
    for (int i = 0; i < 4; i++) faasm_pthread_join(threads[i], NULL);
    if (counter != 800) return 1;
    if (faasm_pthread_mutex_trylock(&mutex) || faasm_pthread_mutex_trylock(&mutex) != BUSY) return 2;
    return faasm_pthread_mutex_unlock(&mutex);
}

static void *producer(void *argument) {
    faasm_pthread_mutex_lock(&mutex);
    ready = 1;
    faasm_pthread_cond_broadcast(&condition);
    faasm_pthread_mutex_unlock(&mutex);
    return argument;
}

static int conditions(void) {
    faasm_thread_t thread;
    faasm_pthread_mutex_lock(&mutex);
    faasm_pthread_create(&thread, NULL, producer, NULL);
    while (!ready) faasm_pthread_cond_wait(&condition, &mutex);
    faasm_pthread_mutex_unlock(&mutex);
    faasm_pthread_join(thread, NULL);
    faasm_time_t past = {1, 0};
    faasm_pthread_mutex_lock(&mutex);
    if (faasm_pthread_cond_timedwait(&condition, &mutex, &past) != TIMED_OUT) return 1;
    return faasm_pthread_mutex_unlock(&mutex) || faasm_pthread_cond_signal(&condition);
}

static void call_once(void) { calls++; }

static void *calls_once(void *argument) {
    faasm_pthread_once(&control, call_once);
    return argument;
}

static int once_only(void) {
    faasm_thread_t threads[3];
    for (int i = 0; i < 3; i++) faasm_pthread_create(&threads[i], NULL, calls_once, NULL);
    for (int i = 0; i < 3; i++) faasm_pthread_join(threads[i], NULL);
    faasm_pthread_once(&control, call_once);
    return calls != 1;
}

static void destroy(void *value) { destroyed += (int)(uintptr_t)value; }

static void *uses_key(void *argument) {
    if (faasm_pthread_getspecific(key)) return (void *)1; /* NULL at first, whatever others set */
    faasm_pthread_setspecific(key, argument);
    return (void *)(uintptr_t)(faasm_pthread_getspecific(key) != argument || faasm_pthread_equal(faasm_pthread_self(), 1));
}

static int keys(void) {
    faasm_thread_t threads[2];
    void *failed = NULL;
    if (faasm_pthread_key_create(&key, destroy) || faasm_pthread_setspecific(key, (void *)99)) return 1;
    for (uintptr_t i = 0; i < 2; i++) faasm_pthread_create(&threads[i], NULL, uses_key, (void *)(i + 1));
    for (int i = 0; i < 2; i++)
        if (faasm_pthread_join(threads[i], &failed) || failed) return 2;
    if (destroyed != 3 || (uintptr_t)faasm_pthread_getspecific(key) != 99) return 3;
    return faasm_pthread_key_delete(key) || faasm_pthread_key_delete(key) == 0 || faasm_pthread_setspecific(key, NULL) == 0;
}

static void *leaves(void *argument) {
    faasm_pthread_exit((int)(uintptr_t)argument + 1);
    return NULL;
}

static int leaving(void) {
    faasm_thread_t thread;
    void *result = NULL;
    for (uintptr_t i = 0; i < 200; i++) { /* stacks and frames are given back */
        if (faasm_pthread_create(&thread, NULL, leaves, (void *)i)) return 1;
        if (faasm_pthread_join(thread, &result) || (uintptr_t)result != i + 1) return 2;
    }
    return 0;
}

static void *traps(void *argument) { __builtin_trap(); }
static void *exits(void *argument) { exit(3); }
static void *spins(void *argument) {
    for (;;) __asm__ volatile("");
}
static void *waits(void *argument) {
    faasm_pthread_mutex_lock(&mutex);
    return argument;
}
static void *puts_out(void *argument) {
    faasmSetOutput("from a thread", 13);
    return argument;
}

static int one_thread(void *(*entry)(void *), int join) {
    faasm_thread_t thread;
    faasm_pthread_mutex_lock(&mutex);
    if (faasm_pthread_create(&thread, NULL, entry, NULL)) return 99;
    return join ? faasm_pthread_join(thread, NULL) : 0;
}

static int too_many(void) {
    faasm_thread_t thread;
    int made = 0;
    while (made < 1000 && faasm_pthread_create(&thread, NULL, waits, NULL) == 0) made++;
    return made > 0 && made < 1000 ? 0 : 1;
}

int main(void) {
    char what = 0;
    faasmGetInput(&what, 1);
    switch (what) {
        case 'l': return threads_local();
        case 'm': return threads_memory();
        case 'r': return results();
        case 'x': return mutexes();
        case 'c': return conditions();
        case 'o': return once_only();
        case 'k': return keys();
        case 'e': return leaving();
        case 't': return one_thread(traps, 1);
        case 'T': one_thread(traps, 0); for (;;) __asm__ volatile("");
        case 'q': return one_thread(exits, 1);
        case 's': return one_thread(spins, 1);
        case 'S': return one_thread(spins, 0);
        case 'W': return one_thread(waits, 0);
        case 'w': return one_thread(waits, 1);
        case 'p': return one_thread(puts_out, 1);
        case 'n': faasm_pthread_mutex_lock(&mutex); return too_many();
        case 'u': return faasm_pthread_mutex_unlock(&mutex);
        case 'b': return faasm_pthread_create((void *)0xfffffff0u, NULL, double_it, NULL);
        case 'i': { faasm_thread_t t; faasm_pthread_create(&t, NULL, (void *(*)(void *))9999, NULL);
                    return faasm_pthread_join(t, NULL); }
        case 'd': { faasm_thread_t t; faasm_pthread_create(&t, NULL, double_it, NULL);
                    return faasm_pthread_detach(t) || faasm_pthread_join(t, NULL) == 0; }
        default: return 100;
    }
}
