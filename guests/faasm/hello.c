/* The smallest function that says something. */
#include "faasm.h"

int main(void) {
    faasmSetOutput("Hello Faasm!", 12);
    return 0;
}
