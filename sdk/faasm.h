/* Faasm functions in C and C++, for any compiler that targets wasm32-wasi.
 *
 *     #include "faasm.h"
 *
 *     int main(void) {
 *         char text[64];
 *         int size = faasmGetInput(text, sizeof text);
 *         faasmSetOutput(text, size);
 *         return 0;
 *     }
 *
 * Names and meanings are those of the Faasm guest library; the imports behind them carry a prefix. What
 * the C library of the compiler defines itself (mmap, dlopen, pthread_create ...) is reached under names
 * that start with faasm_, so that the host's version is called and not the library's stub.
 */
#ifndef GUESTHOUSE_SDK_FAASM_H
#define GUESTHOUSE_SDK_FAASM_H

#include <stddef.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>

#ifdef __cplusplus
extern "C" {
#endif

#define FAASM_IMPORT(name) __attribute__((import_module("env"), import_name(name)))
#define FAASM_EXPORT(name) __attribute__((export_name(name), used, visibility("default")))

/* Runs once, before the image that all instances start from is taken: FAASM_ZYGOTE() { ...; return 0; } */
#define FAASM_ZYGOTE() FAASM_EXPORT("_faasm_zygote") int _faasm_zygote(void)

/* --- input and output ---------------------------------------------------------------------------- */

FAASM_IMPORT("__faasm_read_input") int faasm_read_input(void *buffer, int length);
FAASM_IMPORT("__faasm_write_output") void faasm_write_output(const void *data, int length);

/* Bytes of input that the call was given. */
static inline int faasmGetInputSize(void) { return faasm_read_input(NULL, 0); }

/* Copies at most `length` bytes of the input; returns how many. */
static inline int faasmGetInput(void *buffer, int length) { return faasm_read_input(buffer, length); }

/* Sets the output to exactly these bytes; a later call replaces it. */
static inline void faasmSetOutput(const void *data, int length) { faasm_write_output(data, length); }

/* --- calling other functions --------------------------------------------------------------------- */

FAASM_IMPORT("__faasm_chain_name") int faasm_chain_name(const char *name, const void *input, int length);
FAASM_IMPORT("__faasm_chain_ptr") int faasm_chain_ptr(int (*function)(void), const void *input, int length);
FAASM_IMPORT("__faasm_await_call") int faasmAwaitCall(int id);
FAASM_IMPORT("__faasm_await_call_output") int faasm_await_call_output(int id, char **output, int *length);

/* Starts a function of the same user; returns its call id at once. */
static inline int faasmChainNamed(const char *name, const void *input, int length) {
    return faasm_chain_name(name, input, length);
}

/* Starts a function of this module in another instance; returns its call id at once. */
static inline int faasmChain(int (*function)(void), const void *input, int length) {
    return faasm_chain_ptr(function, input, length);
}

/* Waits for a call; *output is malloc'ed and the caller's to free. Returns the call's return value. */
static inline int faasmAwaitCallOutput(int id, char **output, int *length) {
    return faasm_await_call_output(id, output, length);
}

/* Starts the function `n` times with a text as input and waits for all: 0 when every one returned 0. */
static inline int faasmChainBatch(int (*function)(void), const char *text, int n) {
    int failed = 0;
    int *ids = (int *)malloc((size_t)n * sizeof(int));
    if (!ids) return 1;
    for (int i = 0; i < n; i++) ids[i] = faasmChain(function, text, (int)strlen(text));
    for (int i = 0; i < n; i++) failed |= faasmAwaitCall(ids[i]) != 0;
    free(ids);
    return failed;
}

/* --- state --------------------------------------------------------------------------------------- */

FAASM_IMPORT("__faasm_read_state") int faasm_read_state(const char *key, void *buffer, int length);
FAASM_IMPORT("__faasm_read_state_ptr") uint8_t *faasmReadStatePtr(const char *key, int total);
FAASM_IMPORT("__faasm_read_state_offset")
void faasmReadStateOffset(const char *key, int total, int offset, void *buffer, int length);
FAASM_IMPORT("__faasm_read_state_offset_ptr")
uint8_t *faasmReadStateOffsetPtr(const char *key, int total, int offset, int length);
FAASM_IMPORT("__faasm_write_state") void faasmWriteState(const char *key, const void *data, int length);
FAASM_IMPORT("__faasm_write_state_offset")
void faasmWriteStateOffset(const char *key, int total, int offset, const void *data, int length);
FAASM_IMPORT("__faasm_write_state_from_file") int faasmWriteStateFromFile(const char *key, const char *path);
FAASM_IMPORT("__faasm_push_state") void faasmPushState(const char *key);
FAASM_IMPORT("__faasm_push_state_partial") void faasmPushStatePartial(const char *key);
FAASM_IMPORT("__faasm_push_state_partial_mask") void faasmPushStatePartialMask(const char *key, const char *mask);
FAASM_IMPORT("__faasm_pull_state") void faasmPullState(const char *key, int total);
FAASM_IMPORT("__faasm_append_state") void faasmAppendState(const char *key, const void *data, int length);
FAASM_IMPORT("__faasm_read_appended_state")
void faasmReadAppendedState(const char *key, void *buffer, int length, int elements);
FAASM_IMPORT("__faasm_clear_appended_state") void faasmClearAppendedState(const char *key);
FAASM_IMPORT("__faasm_flag_state_dirty") void faasmFlagStateDirty(const char *key, int total);
FAASM_IMPORT("__faasm_flag_state_offset_dirty")
void faasmFlagStateOffsetDirty(const char *key, int total, int offset, int length);
FAASM_IMPORT("__faasm_lock_state_read") void faasmLockStateRead(const char *key);
FAASM_IMPORT("__faasm_unlock_state_read") void faasmUnlockStateRead(const char *key);
FAASM_IMPORT("__faasm_lock_state_write") void faasmLockStateWrite(const char *key);
FAASM_IMPORT("__faasm_unlock_state_write") void faasmUnlockStateWrite(const char *key);

/* Bytes of a value, 0 when there is none. */
static inline int faasmReadStateSize(const char *key) { return faasm_read_state(key, NULL, 0); }

/* Copies at most `length` bytes of a value; returns the value's size. */
static inline int faasmReadState(const char *key, void *buffer, int length) {
    return faasm_read_state(key, buffer, length);
}

/* --- host, Python call fields, shared variables --------------------------------------------------- */

FAASM_IMPORT("__faasm_conf_flag") int getConfFlag(const char *key);
FAASM_IMPORT("__faasm_backtrace") void faasmBacktrace(int depth);
FAASM_IMPORT("__faasm_chain_py") int faasmChainPy(const char *entry, const void *input, int length);
FAASM_IMPORT("__faasm_get_py_user") void faasm_get_py_user(char *buffer, int length);
FAASM_IMPORT("__faasm_get_py_func") void faasm_get_py_func(char *buffer, int length);
FAASM_IMPORT("__faasm_get_py_entry") void faasm_get_py_entry(char *buffer, int length);
FAASM_IMPORT("__faasm_sm_critical_local") void faasm_sm_critical_local(void);
FAASM_IMPORT("__faasm_sm_critical_local_end") void faasm_sm_critical_local_end(void);
FAASM_IMPORT("__faasm_sm_reduce") void faasm_sm_reduce(void *variable, int type, int operation, int current);

#define FAASM_PY_FIELD(name, import)                                                                  \
    static inline char *name(void) {                                                                  \
        char *text = (char *)calloc(1, 256);                                                          \
        if (text) import(text, 256);                                                                  \
        return text;                                                                                  \
    }
/* The Python fields of the call, each malloc'ed and the caller's to free. */
FAASM_PY_FIELD(faasmGetPythonUser, faasm_get_py_user)
FAASM_PY_FIELD(faasmGetPythonFunc, faasm_get_py_func)
FAASM_PY_FIELD(faasmGetPythonEntry, faasm_get_py_entry)
#undef FAASM_PY_FIELD

enum faasm_type { FAASM_BOOL = 1, FAASM_INT, FAASM_LONG, FAASM_FLOAT, FAASM_DOUBLE };
enum faasm_operation { FAASM_OVERWRITE, FAASM_SUM, FAASM_PRODUCT, FAASM_SUBTRACT, FAASM_MAX, FAASM_MIN };

/* Registers a variable whose copies are merged after the next batch of threads. */
#define FAASM_REDUCE(variable, type, operation) faasm_sm_reduce(&(variable), type, operation, 0)

/* A block that one call or thread of the group runs at a time. */
#define FAASM_CRITICAL_LOCAL                                                                          \
    for (int faasm_once = (faasm_sm_critical_local(), 1); faasm_once;                                 \
         faasm_once = (faasm_sm_critical_local_end(), 0))
#define FAASM_ATOMIC_INCR_BY(variable, amount) FAASM_CRITICAL_LOCAL { (variable) += (amount); }
#define FAASM_ATOMIC_INCR(variable) FAASM_ATOMIC_INCR_BY(variable, 1)

/* --- what the C library would otherwise answer itself ---------------------------------------------- */

FAASM_IMPORT("mmap")
void *faasm_mmap(void *address, size_t length, int protection, int flags, int fd, int64_t offset);
FAASM_IMPORT("munmap") int faasm_munmap(void *address, size_t length);
FAASM_IMPORT("__sbrk") void *faasm_sbrk(intptr_t increment);
FAASM_IMPORT("dup") int faasm_dup(int fd);
FAASM_IMPORT("dlopen") int faasm_dlopen(const char *path, int flags);
FAASM_IMPORT("dlsym") void *faasm_dlsym(int handle, const char *name);
FAASM_IMPORT("dlclose") int faasm_dlclose(int handle);
FAASM_IMPORT("dlerror") const char *faasm_dlerror(void);
FAASM_IMPORT("getpid") int faasm_getpid(void);
FAASM_IMPORT("gethostname") int faasm_gethostname(char *name, size_t length);
FAASM_IMPORT("uname") int faasm_uname(void *fields);
FAASM_IMPORT("sysconf") long faasm_sysconf(int name);

typedef unsigned long faasm_thread_t;
typedef int32_t faasm_mutex_t;
FAASM_IMPORT("pthread_create")
int faasm_pthread_create(faasm_thread_t *thread, const void *attributes, void *(*entry)(void *), void *argument);
FAASM_IMPORT("pthread_join") int faasm_pthread_join(faasm_thread_t thread, void **result);
FAASM_IMPORT("pthread_exit") void faasm_pthread_exit(int result);
FAASM_IMPORT("pthread_mutex_init") int faasm_pthread_mutex_init(faasm_mutex_t *mutex, const void *attributes);
FAASM_IMPORT("pthread_mutex_lock") int faasm_pthread_mutex_lock(faasm_mutex_t *mutex);
FAASM_IMPORT("pthread_mutex_trylock") int faasm_pthread_mutex_trylock(faasm_mutex_t *mutex);
FAASM_IMPORT("pthread_mutex_unlock") int faasm_pthread_mutex_unlock(faasm_mutex_t *mutex);
FAASM_IMPORT("pthread_self") faasm_thread_t faasm_pthread_self(void);
FAASM_IMPORT("pthread_equal") int faasm_pthread_equal(faasm_thread_t one, faasm_thread_t other);
FAASM_IMPORT("pthread_detach") int faasm_pthread_detach(faasm_thread_t thread);
FAASM_IMPORT("pthread_once") int faasm_pthread_once(int32_t *control, void (*function)(void));

/* Like mutexes, conditions are known to the host by their address. */
typedef int32_t faasm_cond_t;
typedef struct { int64_t seconds; int32_t nanoseconds; } faasm_time_t;
FAASM_IMPORT("pthread_cond_wait") int faasm_pthread_cond_wait(faasm_cond_t *condition, faasm_mutex_t *mutex);
FAASM_IMPORT("pthread_cond_timedwait")
int faasm_pthread_cond_timedwait(faasm_cond_t *condition, faasm_mutex_t *mutex, const faasm_time_t *until);
FAASM_IMPORT("pthread_cond_signal") int faasm_pthread_cond_signal(faasm_cond_t *condition);
FAASM_IMPORT("pthread_cond_broadcast") int faasm_pthread_cond_broadcast(faasm_cond_t *condition);

typedef int32_t faasm_key_t;
FAASM_IMPORT("pthread_key_create") int faasm_pthread_key_create(faasm_key_t *key, void (*destructor)(void *));
FAASM_IMPORT("pthread_key_delete") int faasm_pthread_key_delete(faasm_key_t key);
FAASM_IMPORT("pthread_setspecific") int faasm_pthread_setspecific(faasm_key_t key, const void *value);
FAASM_IMPORT("pthread_getspecific") void *faasm_pthread_getspecific(faasm_key_t key);

#ifdef __cplusplus
}

#include <stdio.h>
#include <string>
#include <time.h>
#include <unistd.h>

namespace faasm {

/* The input as text, or a default when there is none. */
inline std::string getStringInput(const char *fallback = "") {
    std::string text((size_t)faasmGetInputSize(), '\0');
    if (text.empty()) return fallback;
    faasmGetInput(&text[0], (int)text.size());
    return text;
}

/* The input as a decimal number, or a default when there is none. */
inline int getIntInput(int fallback = 0) {
    std::string text = getStringInput();
    return text.empty() ? fallback : atoi(text.c_str());
}

inline void setStringOutput(const std::string &text) { faasmSetOutput(text.data(), (int)text.size()); }

/* A whole file of the function's file system; empty when it cannot be read. */
inline std::string readFile(const char *path) {
    std::string content;
    if (FILE *file = fopen(path, "rb")) {
        char piece[4096];
        for (size_t got; (got = fread(piece, 1, sizeof piece, file)) > 0;) content.append(piece, got);
        fclose(file);
    }
    return content;
}

/* Seconds since some moment, for measuring. */
inline double wallClock() {
    struct timespec now;
    clock_gettime(CLOCK_MONOTONIC, &now);
    return (double)now.tv_sec + (double)now.tv_nsec / 1e9;
}

/* A random number from `from` to `to`, both included. */
inline int randomInteger(int from, int to) {
    uint32_t number;
    getentropy(&number, sizeof number);
    return from + (int)(number % ((uint32_t)to - (uint32_t)from + 1));
}

/* Marks the bytes of one double in the mask of an array of them; for faasmPushStatePartialMask. */
inline void maskDouble(uint8_t *mask, size_t index) { memset(mask + index * sizeof(double), 0xff, sizeof(double)); }

/* An array in shared state, used in place: all functions of the user on this host see the same elements.
 *
 * Elements are written through `[]`, which marks them for the next push; `at` reads without marking. */
template <typename T> class AsyncArray {
  public:
    /* Finds the array, or creates it; elements that are not here yet are pulled when it is first used. */
    AsyncArray(const char *name, size_t count) : key(name), size(count) {}

    /* Makes every element zero, here and in the global tier. */
    void zero() {
        memset(elements(), 0, bytes());
        faasmFlagStateDirty(key.c_str(), (int)bytes());
        push();
    }

    /* Takes everything from the global tier again. */
    void pull() { faasmPullState(key.c_str(), (int)bytes()); }

    /* Sends the marked elements to the global tier. */
    void push() { faasmPushStatePartial(key.c_str()); }

    T &operator[](size_t index) {
        faasmFlagStateOffsetDirty(key.c_str(), (int)bytes(), (int)(index * sizeof(T)), sizeof(T));
        return elements()[index];
    }

    const T &at(size_t index) { return elements()[index]; }
    size_t count() const { return size; }

  private:
    T *elements() {
        if (!first) first = (T *)faasmReadStatePtr(key.c_str(), (int)bytes());
        return first;
    }
    size_t bytes() const { return size * sizeof(T); }

    std::string key;
    size_t size;
    T *first = nullptr;
};

/* Creates a value of zeros, in the global tier too. */
inline void zeroState(const char *key, size_t size) {
    std::string zeros(size, '\0');
    faasmWriteState(key, zeros.data(), (int)size);
    faasmPushState(key);
}

} /* namespace faasm */
#endif

#endif
