/* Doubles a number: int in, int out. */
#include "faasm.h"

int main(void) {
    int number = 0;
    faasmGetInput(&number, sizeof number);
    number *= 2;
    faasmSetOutput(&number, sizeof number);
    return 0;
}
