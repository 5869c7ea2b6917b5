/* Does nothing, and imports nothing of Faasm. */
int main(void) { return 0; }
