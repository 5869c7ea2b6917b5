/* Who and where a function is: the same everywhere. */
#include <sys/time.h>
#include <time.h>
#include "faasm.h"

FAASM_IMPORT("getuid") int host_getuid(void);
FAASM_IMPORT("getegid") int host_getegid(void);
FAASM_IMPORT("geteuid") int host_geteuid(void);
FAASM_IMPORT("getgid") int host_getgid(void);
FAASM_IMPORT("getgrgid") int host_getgrgid(int gid);
FAASM_IMPORT("gettid") int host_gettid(void);
FAASM_IMPORT("waitpid") int host_waitpid(int pid, int *status, int options);
FAASM_IMPORT("fork") int host_fork(void);
FAASM_IMPORT("getrlimit") int host_getrlimit(int resource, void *limit);
FAASM_IMPORT("getpwuid") char **host_getpwuid(int uid);

extern char **environ;

/* What every function finds in its environment, and nothing beside it. */
static const char *const ENVIRONMENT[][2] = {
    {"MKL_NUM_THREADS", "1"}, {"OPENBLAS_NUM_THREADS", "1"}, {"PYTHON_PATH", "/"}, {"PYTHONHOME", "/"},
    {"PYTHONHASHSEED", "0"}, {"PYTHONNOUSERSITE", "on"}, {"PYTHONWASM", "1"},
};

#define CHECK(condition) \
    if (!(condition)) return __LINE__

int main(void) {
    char name[16], fields[6][65];
    struct timeval now;
    CHECK(host_getuid() == 1000 && host_getegid() == 1000 && host_gettid() == 66 && faasm_getpid() == 23);
    CHECK(host_geteuid() == 1000 && host_getgid() == 1000 && host_getgrgid(0) == 1000);
    CHECK(host_waitpid(99, 0, 0) == 99 && host_fork() == -1 && host_getrlimit(0, 0) == 0);
    CHECK(strcmp(host_getpwuid(1000)[0], "faasm") == 0 && strcmp(host_getpwuid(1000)[5], "/") == 0);
    CHECK(host_getpwuid(0) == host_getpwuid(1000));
    CHECK(faasm_gethostname(name, sizeof name) == 0 && strcmp(name, "faasm") == 0);
    CHECK(faasm_gethostname(name, 5) == -1);
    CHECK(faasm_uname(fields) == 0 && strcmp(fields[0], "Linux") == 0 && strcmp(fields[1], "faasm") == 0);
    CHECK(strcmp(fields[3], "Faasm 123") == 0);
    CHECK(strcmp(fields[2], "1.0.0") == 0 && strcmp(fields[4], "x86") == 0 && strcmp(fields[5], "(none)") == 0);
    CHECK(faasm_sysconf(84) >= 1);
    for (int i = 0; i < 7; i++)
        CHECK(getenv(ENVIRONMENT[i][0]) && strcmp(getenv(ENVIRONMENT[i][0]), ENVIRONMENT[i][1]) == 0);
    CHECK(environ[6] && !environ[7]);
    CHECK(getenv("NOT_SET") == NULL && getenv("HOME") == NULL && getenv("PATH") == NULL);
    CHECK(setenv("MY_VAR", "dummy", 1) == 0 && strcmp(getenv("MY_VAR"), "dummy") == 0);
    struct timespec one, two;
    CHECK(clock_gettime(CLOCK_MONOTONIC, &one) == 0 && clock_gettime(CLOCK_MONOTONIC, &two) == 0);
    CHECK(two.tv_sec > one.tv_sec || (two.tv_sec == one.tv_sec && two.tv_nsec >= one.tv_nsec));
    CHECK(time(NULL) > 1600000000 && gettimeofday(&now, NULL) == 0 && now.tv_sec > 1600000000);
    return 0;
}
