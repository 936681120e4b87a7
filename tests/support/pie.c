/* A program that works only where its addresses were relocated: tables of pointers. */

static const char *const words[] = {"moved ", "to ", "its ", "place\n"};
static void put(char character);
static void (*const out)(char) = put;
int counter = 3;
int *const where = &counter;
static char buffer[5000];

static void put(char character)
{
    __asm__ volatile("outb %0, $0xe9" : : "a"(character));
}

__attribute__((used, noreturn, visibility("default"))) void _start(void)
{
    void (*volatile call)(char) = out;
    for (unsigned i = 0; i < sizeof words / sizeof words[0]; i++)
        for (const char *volatile at = words[i]; *at; at++)
            call(*at);
    *where += 1;
    buffer[counter] = 1;
    for (;;)
        __asm__ volatile("outb %b0, $0xf8" : : "a"(counter + buffer[4]));
}
