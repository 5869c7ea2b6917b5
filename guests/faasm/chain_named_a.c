/* Chains two functions by name and checks that both agree with what they got. */
#include "faasm.h"

int main(void) {
    const unsigned char one[] = {0, 1, 2}, two[] = {3, 4, 5}, three[] = {6, 7};
    int first = faasmChainNamed("chain_named_b", one, sizeof one);
    int second = faasmChainNamed("chain_named_b", two, sizeof two);
    int third = faasmChainNamed("chain_named_c", three, sizeof three);
    return faasmAwaitCall(first) || faasmAwaitCall(second) || faasmAwaitCall(third);
}
