// build: library
/* Needs the first library, which needs this one. */
extern int one_leaf(int);
extern int counter;

int from_two(int x) { return one_leaf(x) + 1; }
int two_reads_counter(void) { return counter; }
int two_traps(void) { __builtin_trap(); }
