// build: library
/* Puts quotes around; uses a buffer of its own data and a function of another library, once that is loaded. */
struct services { void *(*allocate)(unsigned long); void (*say)(const char *); int calls; };
extern void count_one(void);
extern int count(void); /* the other filter's */

static char note[16] = "quote ";

char *apply(struct services *services, const char *text, int *length) {
    char *result = services->allocate((unsigned long)*length + 3);
    int turned = count(), at = 6;
    if (turned >= 10) note[at++] = (char)('0' + turned / 10 % 10);
    note[at++] = (char)('0' + turned % 10);
    note[at++] = ';';
    note[at] = 0;
    result[0] = '"';
    for (int i = 0; i < *length; i++) result[i + 1] = text[i];
    result[*length + 1] = '"';
    *length += 2;
    services->say(note);
    services->calls++;
    count_one();
    return result;
}
