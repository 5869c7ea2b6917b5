// build: library
/* Turns letters into capitals, and remembers how many it has turned so far. */
struct services { void *(*allocate)(unsigned long); void (*say)(const char *); int calls; };
extern void count_one(void);

static int turned;
static const char *words[] = {"upper;", "upper again;"};

char *apply(struct services *services, const char *text, int *length) {
    char *result = services->allocate((unsigned long)*length + 1);
    for (int i = 0; i < *length; i++) {
        int small = text[i] >= 'a' && text[i] <= 'z';
        turned += small;
        result[i] = (char)(text[i] - (small ? 32 : 0));
    }
    services->say(words[services->calls > 0]);
    services->calls++;
    count_one();
    return result;
}
int count(void) { return turned; }
