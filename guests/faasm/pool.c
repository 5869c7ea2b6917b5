// build: threads
/* A pool of threads with a bounded queue: mutex, two conditions, a thread's own counter, and results that the main
 * thread waits for one by one. Built over a shared memory only: where threads take turns nobody would wait here. */
#include <stdio.h>
#include "faasm.h"

#define WORKERS 3
#define SLOTS 4
#define JOBS 40

struct job { int number; unsigned answer; int done; };

static faasm_mutex_t lock;
static faasm_cond_t not_empty, not_full, finished;
static struct job jobs[JOBS], *queue[SLOTS];
static int head, waiting, closed, most_waiting;
static faasm_key_t mine;
static int32_t once;
static unsigned *table;

static void fill_table(void) { /* 64 KiB apart, so that all of it is not the stack's and not malloc's */
    table = faasm_mmap(NULL, 4 * 65536, 3, 0x22, -1, 0);
    for (unsigned i = 0; i < 65536; i++) table[i] = i * 2654435761u;
}

static unsigned work(int number) {
    unsigned sum = 0;
    for (int i = 0; i < 20000; i++) sum = sum * 31 + table[(unsigned)(number * 977 + i * 13) & 65535];
    return sum;
}

static void *worker(void *argument) {
    long *count = calloc(1, sizeof *count);
    faasm_pthread_setspecific(mine, count);
    faasm_pthread_once(&once, fill_table);
    for (;;) {
        faasm_pthread_mutex_lock(&lock);
        while (!waiting && !closed) faasm_pthread_cond_wait(&not_empty, &lock);
        if (!waiting) {
            faasm_pthread_mutex_unlock(&lock);
            return (void *)*(long *)faasm_pthread_getspecific(mine);
        }
        struct job *job = queue[head];
        head = (head + 1) % SLOTS, waiting--;
        faasm_pthread_cond_signal(&not_full);
        faasm_pthread_mutex_unlock(&lock);
        job->answer = work(job->number);
        ++*(long *)faasm_pthread_getspecific(mine);
        faasm_pthread_mutex_lock(&lock);
        job->done = 1;
        faasm_pthread_cond_broadcast(&finished);
        faasm_pthread_mutex_unlock(&lock);
        (void)argument;
    }
}

static int freed;
static void drop(void *value) {
    free(value);
    faasm_pthread_mutex_lock(&lock);
    freed++;
    faasm_pthread_mutex_unlock(&lock);
}

int main(void) {
    faasm_thread_t threads[WORKERS];
    char text[64];
    long total = 0;
    faasm_pthread_mutex_init(&lock, NULL);
    if (faasm_pthread_key_create(&mine, drop)) return 1;
    for (int i = 0; i < WORKERS; i++)
        if (faasm_pthread_create(&threads[i], NULL, worker, NULL)) return 2;
    for (int i = 0; i < JOBS; i++) {
        jobs[i].number = i;
        faasm_pthread_mutex_lock(&lock);
        while (waiting == SLOTS) faasm_pthread_cond_wait(&not_full, &lock);
        queue[(head + waiting++) % SLOTS] = &jobs[i];
        if (waiting > most_waiting) most_waiting = waiting;
        faasm_pthread_cond_signal(&not_empty);
        faasm_pthread_mutex_unlock(&lock);
    }
    faasm_pthread_mutex_lock(&lock);
    for (int i = 0; i < JOBS; i++)
        while (!jobs[i].done) faasm_pthread_cond_wait(&finished, &lock);
    closed = 1;
    faasm_pthread_cond_broadcast(&not_empty);
    faasm_pthread_mutex_unlock(&lock);
    for (int i = 0; i < WORKERS; i++) {
        void *count = NULL;
        if (faasm_pthread_join(threads[i], &count)) return 3;
        total += (long)count;
    }
    for (int i = 0; i < JOBS; i++)
        if (jobs[i].answer != work(i)) return 4;
    faasmSetOutput(text, snprintf(text, sizeof text, "%ld jobs, %d freed, %s", total, freed,
                                  most_waiting <= SLOTS ? "bounded" : "unbounded"));
    return 0;
}
