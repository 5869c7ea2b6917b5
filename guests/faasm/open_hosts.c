/* Succeeds where there are files at all. */
#include <stdio.h>

int main(void) { return fopen("/etc/hosts", "r") ? 0 : 1; }
