/* A file that is not in the function's root cannot be opened, and the call fails. */
#include <stdio.h>
#include "faasm.h"

int main(void) { return fopen("/etc/shadow", "r") ? 0 : 1; }
