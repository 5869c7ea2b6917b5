// build: library
/* A library with data, a table of pointers, a constructor, and calls into the program and another library. */
extern int from_main(int);
extern int from_two(int);
extern void __faasm_write_output(const char *, int);

int counter = 40;
static int values[3] = {1, 2, 3};
int *pointer_to_values = values;
static int constructed;

__attribute__((constructor)) static void construct(void) { constructed = 7; }

static int add_one(int x) { return x + 1; }
static int add_two(int x) { return x + 2; }
int (*operations[2])(int) = {add_one, add_two};

int one_sum(void) { return pointer_to_values[0] + values[1] + values[2]; }
int one_constructed(void) { return constructed; }
int one_apply(int which, int x) { return operations[which](x); }
int one_count(void) { return ++counter; }
int one_calls_main(int x) { return from_main(x) + 1; }
int one_calls_two(int x) { return from_two(x) * 10; }
int (*one_pointer_to_two(void))(int) { return from_two; }
int one_leaf(int x) { return x + 100; }
void one_output(void) { __faasm_write_output("from a library", 14); }
