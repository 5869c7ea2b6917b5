/* Sleeps as many milliseconds as its input says. */
#include <time.h>
#include "faasm.h"

int main(void) {
    char text[16] = {0};
    faasmGetInput(text, sizeof text - 1);
    long wait = atol(text);
    struct timespec pause = {wait / 1000, wait % 1000 * 1000000};
    nanosleep(&pause, NULL);
    faasmSetOutput("slept", 5);
    return 0;
}
